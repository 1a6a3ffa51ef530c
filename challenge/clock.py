"""The one clock of a run, and where it starts.

It is CLOCK_BOOTTIME where there is one, since that goes on while a machine is suspended, as the
clock of whoever waits for the submission does. No time of day is read: it can jump.
"""

import os
import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path

BOOTTIME, MONOTONIC = "CLOCK_BOOTTIME", "monotonic"


@dataclass(frozen=True)
class RunClock:
    """A clock in seconds that another process of this machine can read too.

    ``source`` names what it reads, ``origin_s`` is its zero on that, ``zero`` says what it is.
    """

    origin_s: float
    source: str
    zero: str

    def __call__(self) -> float:
        """Seconds since the clock's zero."""
        return _read(self.source) - self.origin_s

    def continuing(self, spent_s: float) -> "RunClock":
        """This clock, after ``spent_s`` that an earlier process of the same run has spent."""
        zero = f"{self.zero}, plus the {spent_s:.2f} s of earlier processes"
        return replace(self, origin_s=self.origin_s - spent_s, zero=zero)


def clock_since_process_start() -> RunClock:
    """A clock whose zero is the start of this operating-system process; call it first of all.

    Linux tells the start in ticks (1/100 s) after boot in field 22 of /proc/self/stat
    (proc_pid_stat(5)). Where that cannot be read, the clock starts now and says so.

    A shell may turn itself into this program by exec, as bash does with the last command of
    ``bash -c "pip install ... && python ..."``; the process is then as old as the shell. It shows
    by the children it has waited for, which a program at its first line has not. The zero is then
    the first line less the CPU seconds used before it and half a second for the interpreter's own
    start from disk.
    """
    try:
        after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start_s = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return clock_since_now()
    if resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt > 0:
        start_s = _read(BOOTTIME) - time.process_time() - 0.5
        return RunClock(start_s, BOOTTIME, "start of the program in a process that was a shell")
    return RunClock(start_s, BOOTTIME, "process start")


def clock_since_now() -> RunClock:
    """A clock whose zero is this call, for a run inside a process that has lived before."""
    source = BOOTTIME if hasattr(time, "CLOCK_BOOTTIME") else MONOTONIC
    return RunClock(_read(source), source, "start of the command")


def _read(source: str) -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) if source == BOOTTIME else time.monotonic()
