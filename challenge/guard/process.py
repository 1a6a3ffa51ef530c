"""The guard's own process: listens, leaves a sign of life, and packs when it must.

It imports torch only when images are being made, so its start costs the run next to nothing.
"""

import contextlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from challenge.clock import RunClock
from challenge.errors import ChallengeError
from challenge.locks import FileLock
from challenge.watch import (
    HEARTBEAT_FILE,
    HEARTBEAT_S,
    KILL_AFTER_S,
    GuardReport,
    Watch,
    decode_line,
    report_path,
)

if TYPE_CHECKING:
    from challenge.journal import Journal

POLL_S = 0.1
LONGEST_DEATH_S = 3.0  # of a killed process, which may have gigabytes to give back
REFRESH_S = 1.0  # how often the journal's new batches are looked up, so that packing finds them


def main(arguments: Sequence[str]) -> None:
    """Guard the run in the folder of ``arguments`` until its end of stdin is closed."""
    run_dir, origin_s, source, run_pid = arguments
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are the run's; its end ends the guard too
    clock = RunClock(float(origin_s), source, zero="of the run")
    GuardProcess(Path(run_dir), clock, sys.stdin.fileno(), int(run_pid)).guard()


class GuardProcess:
    """Watches one run; ``line`` is the reading end of what the run tells."""

    def __init__(self, run_dir: Path, clock: RunClock, line: int, run_pid: int) -> None:
        self._run_dir, self._clock, self._line, self._run_pid = run_dir, clock, line, run_pid
        self._unread = b""
        self._watch: Watch | None = None
        self._journal: Journal | None = None
        self._refreshed_s = self._heard_s = 0.0
        self._beaten_s = -HEARTBEAT_S
        self._claim: FileLock | None = None
        self._heartbeat = (run_dir / HEARTBEAT_FILE).open("wb", buffering=0)

    def guard(self) -> None:
        """Go on until the run is over, orderly or not."""
        run_is_alive = True
        while run_is_alive:
            run_is_alive = self._listen()
            self._beat()
            if self._watch is None:
                continue
            self._keep_ready(self._watch)
            why = self._watch.why_act(self._clock(), run_is_alive=run_is_alive)
            if why and self._claim is None:
                self._take_over(self._watch, why, run_is_alive=run_is_alive)
            given_up_s = max(self._watch.deadline_s, self._heard_s) + KILL_AFTER_S
            if run_is_alive and self._clock() > given_up_s:
                self._end_stuck_run(self._watch)
        with contextlib.suppress(OSError):
            os.fsync(self._heartbeat.fileno())

    def _listen(self) -> bool:
        """Take in what the run told; False when its process is over."""
        ready, _, _ = select.select([self._line], [], [], POLL_S)
        if not ready:
            return True
        told = os.read(self._line, 2**16)
        self._heard_s = self._clock()
        *lines, self._unread = (self._unread + told).split(b"\n")
        for text in lines:
            watch = decode_line(text)
            if watch is None or self._watch is None or watch.dataset != self._watch.dataset:
                self._journal = None
                self._unclaim()
            self._watch = watch
        return bool(told)

    def _unclaim(self) -> None:
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def _beat(self) -> None:
        if self._clock() - self._beaten_s >= HEARTBEAT_S:
            self._beaten_s = self._clock()
            with contextlib.suppress(OSError):
                os.pwrite(self._heartbeat.fileno(), f"{self._beaten_s:012.3f}\n".encode(), 0)

    def _keep_ready(self, watch: Watch) -> None:
        """Have torch and the journal's batches at hand before the moment comes."""
        if self._clock() - self._refreshed_s < REFRESH_S or self._claim is not None:
            return
        with contextlib.suppress(ChallengeError):  # told when it is needed
            self._find_rounds(watch)
        self._refreshed_s = self._clock()

    def _find_rounds(self, watch: Watch) -> "Journal":
        """The journal with all that is in it by now."""
        from challenge.journal import Journal

        if self._journal is None:
            self._journal = Journal(self._run_dir / f"{watch.dataset}.journal")
        self._journal.refresh()
        return self._journal

    def _take_over(self, watch: Watch, why: str, *, run_is_alive: bool) -> None:
        """Pack, unless the run does so itself, or another process continues it.

        The lock on a run's folder is free only some moments after its process was killed.
        """
        if run_is_alive:
            claim, longest_wait_s = FileLock(self._run_dir / f"{watch.dataset}.journal"), 0.0
        else:
            claim, longest_wait_s = FileLock(self._run_dir), LONGEST_DEATH_S
        with contextlib.suppress(OSError):
            if claim.acquire(longest_wait_s):
                self._claim = claim  # kept, so that the run does not pack beside it
                report = self._pack(watch, why)
                _write_report(report_path(self._run_dir, watch.dataset), report)

    def _pack(self, watch: Watch, why: str) -> GuardReport:
        """Write the complete rounds as the submission, if they are more than the file holds."""
        import torch

        from challenge.budget import PhaseTimer
        from challenge.file_plan import FilePlan
        from challenge.packing import Packer

        report = GuardReport(watch.dataset, why, rounds=0, end_s=self._clock())
        try:
            journal = self._find_rounds(watch)
            rounds = journal.complete_rounds(watch.spec.num_classes)
            ipc = min(rounds, watch.most_ipc or rounds)
            if rounds <= watch.rounds_in_file:
                return replace(report, error="no round is complete that the file does not hold")
            timer = PhaseTimer(self._clock, "guard")
            packer = Packer(watch.spec, "none", 0, torch.device("cpu"), timer)
            path = self._run_dir / watch.spec.file_name
            file = packer.write(journal, FilePlan(ipc), path, watch.deadline_s)
        except ChallengeError as error:
            return replace(report, error=str(error))
        return replace(
            report,
            rounds=rounds,
            end_s=self._clock(),
            path=str(file.path),
            images=file.images,
            bytes=file.bytes,
            sha256=file.sha256,
        )

    def _end_stuck_run(self, watch: Watch) -> None:
        """Kill a run that does not come back at all; one that somebody has stopped is left."""
        if os.getppid() != self._run_pid or _is_stopped(self._run_pid):
            return
        sys.stderr.write(
            f"error: past the deadline of {watch.dataset} the run gave no sign of life for "
            f"{KILL_AFTER_S:g} s and was killed; generate --resume {self._run_dir} finishes its "
            "record\n"
        )
        os.kill(self._run_pid, signal.SIGKILL)


def _write_report(path: Path, report: GuardReport) -> None:
    from challenge.records import write_json

    write_json(path, asdict(report))


def _is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal or a debugger (proc_pid_stat(5), field 3)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "tT"
    except OSError:
        return False
