import subprocess
import sys
import time

import pytest

from challenge.clock import clock_since_now, clock_since_process_start


def test_the_process_clock_counts_from_the_start_of_the_process() -> None:
    script = (
        "import time; time.sleep(0.3); "
        "from challenge.clock import clock_since_process_start as c; print(c()(), c().zero)"
    )
    started_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    lived_s = time.monotonic() - started_s
    reading, zero = done.stdout.split(maxsplit=1)
    assert 0.3 <= float(reading) <= lived_s + 0.02  # the kernel counts the start in 1/100 s
    assert zero.strip() == "process start"


def test_what_a_shell_did_before_it_became_the_program_is_not_counted() -> None:
    # bash makes its last command its own process: same number, same start
    script = "from challenge.clock import clock_since_process_start as c; print(c()(), c().zero)"
    command = 'sleep 1.5 && exec "$0" -c "$1"'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, script], capture_output=True, text=True, check=True
    )
    reading, zero = done.stdout.split(maxsplit=1)
    assert 0 < float(reading) < 1.5
    assert "was a shell" in zero


def test_a_clock_since_now_starts_at_zero_and_runs_on() -> None:
    clock = clock_since_now()
    first, second = clock(), clock()
    assert 0 <= first <= second < 1
    assert clock.source == "CLOCK_BOOTTIME" or not hasattr(time, "CLOCK_BOOTTIME")


def test_without_a_process_table_the_clock_starts_now_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_table(*arguments: object, **options: object) -> str:
        raise OSError

    monkeypatch.setattr("pathlib.Path.read_text", no_table)
    clock = clock_since_process_start()
    assert clock.zero == "start of the command"
    assert clock() < 1


def test_another_process_of_the_machine_reads_the_same_time() -> None:
    clock = clock_since_now()
    script = (
        "import sys; from challenge.clock import RunClock; "
        "print(RunClock(float(sys.argv[1]), sys.argv[2], '')())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, repr(clock.origin_s), clock.source],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 0 < float(done.stdout) < clock()


def test_a_continued_clock_counts_what_earlier_processes_spent() -> None:
    clock = clock_since_now().continuing(40.0)
    assert 40.0 <= clock() < 41.0
    assert clock.zero == "start of the command, plus the 40.00 s of earlier processes"
