"""What becomes of a process whose output is read slowly, no more, or never was."""

import io
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from challenge.streams import own_streams

ROOT = Path(__file__).resolve().parent.parent
MUCH = 200_000  # bytes: more than a pipe or a terminal holds


def program(body: str) -> list[str]:
    """A command line that runs ``body`` with streams of its own."""
    script = f"import sys\nfrom challenge.streams import own_streams\nMUCH = {MUCH}\n"
    return [sys.executable, "-c", script + "with own_streams() as streams:\n" + body]


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a terminal."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:  # the test has closed it
            continue


def test_what_is_written_arrives_in_order() -> None:
    body = " for i in range(50):\n  print('result', i)\n  print('progress', i, file=sys.stderr)\n"
    done = subprocess.run(
        program(body), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    lines = [f"{kind} {i}" for i in range(50) for kind in ("result", "progress")]
    assert done.stdout.splitlines() == lines


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_is_gone_ends_nothing(tmp_path: Path, stream: str) -> None:
    reading, writing = os.pipe()
    body = (
        f" for _ in range(3):\n  print('x' * MUCH, file=sys.{stream}, flush=True)\n"
        f" assert streams.lost_results() is None\n open('{tmp_path}/end', 'w')\n"
    )
    process = subprocess.Popen(program(body), stdout=writing, stderr=writing)
    os.close(reading)
    os.close(writing)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "end").exists()


def test_a_terminal_that_is_closed_ends_nothing(tmp_path: Path, terminal: tuple[int, int]) -> None:
    reading, writing = terminal
    body = (
        " sys.stdin.read()\n"
        " for stream in (sys.stdout, sys.stderr):\n  print('x', file=stream, flush=True)\n"
        f" assert streams.lost_results() is None\n open('{tmp_path}/end', 'w')\n"
    )
    process = subprocess.Popen(program(body), stdin=subprocess.PIPE, stdout=writing, stderr=writing)
    os.close(writing)
    os.close(reading)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert (tmp_path / "end").exists()


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_progress_that_nobody_reads_holds_up_nothing_and_comes_again(
    terminal: tuple[int, int], kind: str
) -> None:
    reading, writing = os.pipe() if kind == "pipe" else terminal
    body = (
        " print('x' * MUCH, file=sys.stderr)\n print('x' * MUCH, file=sys.stderr)\n"
        " print('made', flush=True)\n"
        " sys.stdin.readline()\n print('again', file=sys.stderr)\n"
    )
    process = subprocess.Popen(
        program(body), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writing, text=True
    )
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == "made\n"
    assert read_until(reading, quiet_s=30.0, last=MUCH * "x") == MUCH * "x"
    time.sleep(0.5)  # no more of it comes
    process.stdin.write("\n")
    process.stdin.flush()
    assert read_until(reading, quiet_s=30.0, last="again").strip().endswith("again")
    assert process.wait(timeout=60) == 0


def test_results_wait_for_their_reader() -> None:
    process = subprocess.Popen(program(" print('x' * MUCH)\n"), stdout=subprocess.PIPE)
    assert process.stdout
    time.sleep(2.0)
    assert len(process.stdout.read()) == MUCH + 1
    assert process.wait(timeout=60) == 0


def test_results_wait_where_somebody_made_the_pipe_non_blocking() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = subprocess.Popen(program(" print('x' * MUCH)\n"), stdout=writing)
    os.close(writing)
    time.sleep(1.0)
    assert len(read_until(reading, quiet_s=30.0, last="\n")) == MUCH + 1
    assert process.wait(timeout=60) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_results_that_a_full_disk_does_not_take_are_an_error() -> None:
    command = [sys.executable, str(ROOT / "run_challenge.py"), "prompts", "--dataset", "cifar100"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: stdout could not take the results: No space left on device\n"


def test_streams_that_are_closed_lead_nowhere() -> None:
    shown = " print('result')\n print('progress', file=sys.stderr)\n"
    command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *program(shown)]
    assert subprocess.run(command, check=False).returncode == 0


def test_streams_of_somebody_else_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = io.StringIO()
    monkeypatch.setattr(sys, "stdout", notebook)
    with own_streams() as streams:
        assert sys.stdout is notebook
        print("shown", end="")  # noqa: T201
        assert streams.lost_results() is None
    assert notebook.getvalue() == "shown"


def read_until(descriptor: int, quiet_s: float, last: str = "nothing") -> str:
    """What can be read until ``last`` comes or nothing has come for so long."""
    read = ""
    while not read.rstrip("\r\n" if last != "\n" else "").endswith(last):
        if not select.select([descriptor], [], [], quiet_s)[0]:
            break
        read += os.read(descriptor, 2**16).decode()
    return read
