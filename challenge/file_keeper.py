"""Keeps a valid submission file standing while a data set is made, and writes the last one.

A file that was finished in time is never replaced by one that would be late, nor by one of fewer
distinct images. When this process does not get so far, the guard writes the file, and it is taken
over here.
"""

from dataclasses import replace

import torch

from challenge.errors import (
    NoRoomError,
    PackingDeviceError,
    SubmissionError,
    TooLateError,
    TooSlowError,
)
from challenge.events import FileWritten, Notice
from challenge.file_plan import FilePlan
from challenge.journal import JournalWriter
from challenge.packing import Packer
from challenge.run_parts import RunParts
from challenge.run_state import StandingFile, later_file
from challenge.scheduler import Scheduler
from challenge.spec import DatasetSpec
from challenge.submission import SubmissionFile

SAFE_SHARE = 0.6  # of what could be packed in the time left at the speed of the packing so far


class FileKeeper:
    """The file of one data set; ``standing`` is the one that is safe on disk, if any."""

    def __init__(
        self,
        parts: RunParts,
        spec: DatasetSpec,
        scheduler: Scheduler,
        packer: Packer,
        journal: JournalWriter,
    ) -> None:
        self._parts, self._spec = parts, spec
        self._scheduler, self._packer, self._journal = scheduler, packer, journal
        self.path = parts.run_dir / spec.file_name
        self.standing = parts.state.datasets[spec.name].standing

    def tell_guard(self) -> None:
        """Let the guard know what it needs to write the file itself."""
        watch, rounds = self._scheduler.watch(self._spec.name), self._rounds_that_stand
        self._parts.guard.watch(replace(watch, rounds_in_file=max(watch.rounds_in_file, rounds)))

    def write_on_the_way(self) -> None:
        """Write a file; where one stands already, a failure is told and tried again later."""
        started_s, plan = self._parts.clock(), self._scheduler.file_plan()
        if self._rounds_in(plan) < self._rounds_that_stand:
            return
        try:
            self._write(plan, final=False)
        except SubmissionError as error:
            if self.standing is None:
                raise
            self._scheduler.file_tried(self._parts.clock() - started_s)
            self._parts.emit(Notice(f"going on with the file that stands: {error}", "warning"))

    def write_last(self) -> None:
        """Pack all that was made; what can be packed in time, where that is too much.

        Raises ``SubmissionError`` when the disk refuses, or the file of an earlier process holds
        more than is left; ``TooLateError`` when there is no time.
        """
        plan = self._scheduler.last_file_plan(self._parts.clock())
        if plan.ipc and self._rounds_in(plan) < self._rounds_that_stand:
            raise SubmissionError(
                f"{self.path} of before the resume holds {self._rounds_that_stand} distinct "
                f"images of each class; a file made now would hold {self._rounds_in(plan)}, since "
                f"{self._journal.path.name} was damaged or removed, or the disk has less room"
            )
        while self._scheduler.file_is_outdated and plan.ipc:
            try:
                self._write(plan, final=True)
            except (TooSlowError, NoRoomError) as error:
                plan = self._smaller_plan(plan, error)

    def take_over_guards_file(self) -> None:
        """Where the guard had to act, its file is the one that stands, being the later one."""
        report = self._parts.guard.report(self._spec.name, self._scheduler.deadline.end_s)
        file = StandingFile.of_guard(report) if report else None
        if file and later_file(self.standing, file) == file:
            self._stands(file, final=True)

    @property
    def _rounds_that_stand(self) -> int:
        return self.standing.rounds if self.standing else 0

    def _rounds_in(self, plan: FilePlan) -> int:
        return min(plan.ipc, *self._scheduler.counts)

    def _smaller_plan(self, plan: FilePlan, error: TooSlowError | NoRoomError) -> FilePlan:
        """What the time or the disk still allows; ``error`` when that is less than what stands."""
        if isinstance(error, NoRoomError):
            most_images = error.most_images
        else:
            left_s = self._scheduler.deadline.end_s - self._parts.clock()
            most_images = int(SAFE_SHARE * error.images_per_s * left_s)
        ipc = min(most_images // self._spec.num_classes, plan.ipc - 1)
        if ipc <= self._rounds_that_stand:
            raise error
        self._parts.emit(Notice(f"{error}; packing {ipc} images a class instead", "warning"))
        return FilePlan(ipc)

    def _write(self, plan: FilePlan, *, final: bool) -> None:
        """Pack what was made, replacing the file that stands."""
        started_s = self._parts.clock()
        with self._parts.timer.phase("write"):
            if not self._parts.guard.claim(self._journal.path):
                raise TooLateError(f"{self.path} is packed by the guard already")
            try:
                file = self._pack(plan)
            finally:
                if not final:  # also after a failure: the guard must be able to act later
                    self._parts.guard.unclaim()
        now_s = self._parts.clock()
        self._scheduler.file_written(file.images, now_s - started_s)
        self._stands(StandingFile(file, self._rounds_in(plan), now_s), final=final)
        self.tell_guard()
        self._parts.emit(
            FileWritten(self._spec.name, plan.ipc, file.images, now_s - started_s, final)
        )

    def _pack(self, plan: FilePlan) -> SubmissionFile:
        """Write the file on the device, or on the CPU once that has failed."""
        source, deadline_s = self._journal.reader(), self._scheduler.deadline.end_s
        try:
            return self._packer.write(source, plan, self.path, deadline_s)
        except PackingDeviceError as error:
            if self._packer.device.type == "cpu":
                raise
            self._parts.emit(Notice(f"{error}; packing on the CPU instead", "warning"))
            self._packer.device = torch.device("cpu")
            return self._packer.write(source, plan, self.path, deadline_s)

    def _stands(self, standing: StandingFile, *, final: bool) -> None:
        """Remember the file; after the last one the clock has stopped."""
        self.standing = standing
        with self._parts.timer.phase("records" if final else "state"):
            self._parts.state.file_stands(self._spec.name, standing)
