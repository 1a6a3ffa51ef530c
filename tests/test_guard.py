"""The guard as a process of its own, over a real journal; no model and no run."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from challenge.clock import RunClock, clock_since_now
from challenge.guard import process as guard_process
from challenge.guard.handle import GuardHandle, guarding
from challenge.guard.process import GuardProcess
from challenge.journal import JournalBatch, JournalWriter
from challenge.locks import FileLock
from challenge.spec import CIFAR100
from challenge.submission import normalize
from challenge.watch import (
    HEARTBEAT_FILE,
    GuardReport,
    Watch,
    encode_line,
    read_heartbeat_s,
    read_report,
)

ROUNDS = 3


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Three complete rounds of CIFAR-100 and one image of a fourth; class c is grey c + round."""
    path = tmp_path / "cifar100.journal"
    with JournalWriter(path, {}, CIFAR100.image_shape) as writer:
        for round_index in range(ROUNDS):
            greys = torch.arange(100, dtype=torch.uint8) + round_index
            images = greys.view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()
            places = [(class_index, round_index, 0) for class_index in range(100)]
            writer.append(JournalBatch(places, images))
        writer.append(JournalBatch([(0, ROUNDS, 0)], images[:1]))
    return path


@pytest.fixture
def clock() -> RunClock:
    return clock_since_now()


@pytest.fixture
def guard(tmp_path: Path, clock: RunClock) -> Iterator[GuardHandle]:
    with guarding(tmp_path, clock) as handle:
        yield handle


def watch(clock: RunClock, guard_in_s: float, rounds_in_file: int = 0, **more: int) -> Watch:
    now_s = clock()
    return Watch("cifar100", now_s + guard_in_s, now_s + 60.0, rounds_in_file, **more)


def report_of(run_dir: Path) -> GuardReport:
    """The report, once there is one; a minute at most."""
    assert eventually(lambda: read_report(run_dir, "cifar100") is not None)
    report = read_report(run_dir, "cifar100")
    assert report is not None
    return report


def eventually(holds: Callable[[], bool]) -> bool:
    give_up_s = time.monotonic() + 60
    while time.monotonic() < give_up_s:
        if holds():
            return True
        time.sleep(0.02)
    return False


def test_packs_the_complete_rounds_when_nobody_else_has_by_the_last_safe_moment(
    tmp_path: Path, journal: Path, clock: RunClock, guard: GuardHandle
) -> None:
    told = watch(clock, guard_in_s=0.3)
    guard.watch(told)
    report = report_of(tmp_path)
    assert report.error is None
    assert (report.rounds, report.images) == (ROUNDS, 300)
    assert told.guard_at_s <= report.end_s < told.deadline_s
    assert "last safe moment" in report.why
    tensor = torch.load(tmp_path / "cifar100.pt", weights_only=True)
    grey = torch.full((1, 3, 32, 32), (7 + 2) / 255)
    assert torch.equal(tensor[7 * ROUNDS + 2], normalize(grey, CIFAR100)[0])
    assert not guard.claim(journal)  # the run must not pack beside the guard
    assert guard.report("cifar100", told.deadline_s) == report


def test_stands_back_while_the_run_packs_itself(
    tmp_path: Path, journal: Path, clock: RunClock, guard: GuardHandle
) -> None:
    assert guard.claim(journal)
    guard.watch(watch(clock, guard_in_s=0.0))
    time.sleep(0.5)
    assert read_report(tmp_path, "cifar100") is None
    assert guard.report("cifar100", clock() + 60) is None
    guard.unclaim()
    assert report_of(tmp_path).rounds == ROUNDS


def test_does_not_replace_a_file_that_holds_as_much(
    tmp_path: Path, journal: Path, clock: RunClock, guard: GuardHandle
) -> None:
    guard.watch(watch(clock, guard_in_s=0.0, rounds_in_file=ROUNDS))
    assert "no round is complete that the file does not hold" in str(report_of(tmp_path).error)
    assert not (tmp_path / "cifar100.pt").exists()


def test_keeps_to_what_the_file_may_hold(
    tmp_path: Path, journal: Path, clock: RunClock, guard: GuardHandle
) -> None:
    guard.watch(watch(clock, guard_in_s=0.0, most_ipc=2))
    assert report_of(tmp_path).images == 200


def test_does_nothing_for_a_data_set_that_is_finished(
    tmp_path: Path, journal: Path, clock: RunClock
) -> None:
    with guarding(tmp_path, clock) as handle:
        handle.watch(watch(clock, guard_in_s=60.0))
        handle.watch(None)
    assert not handle.is_alive
    assert read_report(tmp_path, "cifar100") is None
    assert not (tmp_path / HEARTBEAT_FILE).exists()


def test_packs_what_a_killed_run_leaves_behind(tmp_path: Path, journal: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; "
        "from challenge.clock import clock_since_now; from challenge.watch import Watch; "
        "from challenge.guard.handle import GuardHandle; "
        "guard = GuardHandle(Path(sys.argv[1]), clock_since_now()); "
        "guard.watch(Watch('cifar100', 50.0, 60.0, 0)); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    report = report_of(tmp_path)
    assert (report.why, report.rounds) == ("the run's process ended", ROUNDS)
    assert torch.load(tmp_path / "cifar100.pt", weights_only=True).shape[0] == 300


def test_leaves_a_dead_run_to_whoever_resumes_it(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_process, "LONGEST_DEATH_S", 0.2)
    resumed = FileLock(tmp_path)
    assert resumed.acquire()
    guard_in_this_process(tmp_path, Watch("cifar100", 50.0, 60.0, 0))
    assert read_report(tmp_path, "cifar100") is None


def test_beats_about_twice_a_second(tmp_path: Path, clock: RunClock, guard: GuardHandle) -> None:
    assert eventually(lambda: read_heartbeat_s(tmp_path) > 0)
    first_s = read_heartbeat_s(tmp_path)
    assert eventually(lambda: read_heartbeat_s(tmp_path) > first_s)
    assert 0.4 < read_heartbeat_s(tmp_path) - first_s <= clock()


def test_signals_to_the_guard_are_the_runs_business(guard: GuardHandle, tmp_path: Path) -> None:
    assert eventually(lambda: read_heartbeat_s(tmp_path) > 0)  # it has set its handlers
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guard.pid, number)
    time.sleep(0.3)
    assert guard.is_alive


def test_a_dead_guard_does_not_disturb_the_run(
    journal: Path, clock: RunClock, guard: GuardHandle
) -> None:
    os.kill(guard.pid, signal.SIGKILL)
    assert eventually(lambda: not guard.is_alive)
    for _ in range(3):
        guard.watch(watch(clock, guard_in_s=0.0))
    assert guard.claim(journal)
    assert guard.report("cifar100", clock() + 60) is None


@pytest.mark.parametrize(("stopped", "killed"), [(False, [4711]), (True, [])])
def test_a_run_that_never_comes_back_is_killed_but_not_one_that_somebody_stopped(
    tmp_path: Path,
    stopped: bool,
    killed: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    dead: list[int] = []
    monkeypatch.setattr(guard_process, "KILL_AFTER_S", 0.1)
    monkeypatch.setattr(guard_process, "_is_stopped", lambda pid: stopped)
    monkeypatch.setattr("os.getppid", lambda: 4711)
    monkeypatch.setattr("os.kill", lambda pid, number: dead.append(pid))
    guard_in_this_process(tmp_path, Watch("cifar100", 0.0, 0.0, 0), lasts_s=0.4, run_pid=4711)
    assert dead[:1] == killed[:1]
    assert ("--resume" in capfd.readouterr().err) == bool(killed)


def guard_in_this_process(
    run_dir: Path, told: Watch, lasts_s: float = 0.0, run_pid: int = 0
) -> None:
    """Guard a run that tells one thing and ends after ``lasts_s``."""
    reading, writing = os.pipe()
    os.write(writing, encode_line(told))
    threading.Timer(lasts_s, os.close, [writing]).start()
    GuardProcess(run_dir, clock_since_now(), reading, run_pid).guard()
    os.close(reading)
