"""The run's end of the line to its guard."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import challenge
from challenge.clock import RunClock
from challenge.locks import FileLock
from challenge.spec import DatasetName
from challenge.watch import (
    HEARTBEAT_FILE,
    GuardReport,
    Watch,
    encode_line,
    read_report,
)

LONGEST_WAIT_S = 2.0  # past the deadline, for the guard's report


class Guard(Protocol):
    """What a run asks of its guard."""

    def watch(self, watch: Watch | None) -> None:
        """This is being made; None: it is finished."""

    def claim(self, journal: Path) -> bool:
        """Whether the run may write a file itself; False once the guard has taken over."""

    def unclaim(self) -> None:
        """The run is not writing a file now."""

    def report(self, dataset: DatasetName, deadline_s: float) -> GuardReport | None:
        """What the guard did, once it has taken over; waits for it while it works."""


class NoGuard:
    """For a run that is not guarded."""

    def watch(self, watch: Watch | None) -> None:
        """Nobody listens."""

    def claim(self, journal: Path) -> bool:
        """Nobody else writes."""
        return True

    def unclaim(self) -> None:
        """Nobody else writes."""

    def report(self, dataset: DatasetName, deadline_s: float) -> GuardReport | None:
        """Nobody did anything."""
        return None


class GuardHandle:
    """A guard that runs in a process of its own."""

    def __init__(self, run_dir: Path, clock: RunClock) -> None:
        self._run_dir, self._clock = run_dir, clock
        self._lock: FileLock | None = None
        self._taken_over = False
        package_root = str(Path(challenge.__file__).resolve().parent.parent)
        search_path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "challenge.guard", str(run_dir.resolve())]
        self._process = subprocess.Popen(
            [*command, repr(clock.origin_s), clock.source, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": search_path, "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,  # what kills the run's process group does not reach it
            bufsize=0,
        )
        assert self._process.stdin is not None  # it is a pipe
        self._line = self._process.stdin
        os.set_blocking(self._line.fileno(), False)

    @property
    def pid(self) -> int:
        """Number of the guard's process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the guard still runs."""
        return self._process.poll() is None

    def watch(self, watch: Watch | None) -> None:
        """Tell the guard; what a full line or a dead guard cannot take is left out."""
        with contextlib.suppress(OSError):
            self._line.write(encode_line(watch))
        if watch is None:
            self.unclaim()
            self._taken_over = False

    def claim(self, journal: Path) -> bool:
        """Take the lock that whoever writes the file must hold."""
        lock = self._lock or FileLock(journal)
        if lock.acquire():
            self._lock = lock
            return True
        self._taken_over = True
        return False

    def unclaim(self) -> None:
        """Give that lock back."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def report(self, dataset: DatasetName, deadline_s: float) -> GuardReport | None:
        """The guard's report once it has taken over, waiting until shortly after the deadline."""
        while self._taken_over and self.is_alive and self._clock() < deadline_s + LONGEST_WAIT_S:
            if report := read_report(self._run_dir, dataset):
                return report
            time.sleep(0.02)
        return read_report(self._run_dir, dataset)

    def stop(self) -> None:
        """End the guard in order, and take away its sign of life."""
        self.watch(None)
        with contextlib.suppress(OSError):
            self._line.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        (self._run_dir / HEARTBEAT_FILE).unlink(missing_ok=True)


@contextmanager
def guarding(run_dir: Path, clock: RunClock) -> Iterator[GuardHandle]:
    """A guard for the run in ``run_dir``, for as long as the block lasts.

    Raises ``OSError`` when no process can be started.
    """
    handle = GuardHandle(run_dir, clock)
    try:
        yield handle
    finally:
        handle.stop()
