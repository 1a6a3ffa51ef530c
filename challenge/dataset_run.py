"""One data set of a run: generate, shrink, journal, and keep a valid file standing.

The first valid file is written after the first complete round. It is replaced now and then while
that costs under one per cent of the time; these files also teach the scheduler what the last one
will cost. A file that was finished in time is never replaced by one that would be late.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from challenge.budget import Clock, PhaseTimer
from challenge.errors import (
    ChallengeError,
    GenerationError,
    SubmissionError,
)
from challenge.events import BatchFinished, DatasetFinished, Emit, FileWritten, Notice
from challenge.generators.base import ImageGenerator
from challenge.images import shrink, to_uint8
from challenge.journal import JournalBatch, JournalWriter
from challenge.packing import Packer
from challenge.prompts import PromptBook
from challenge.scheduler import ImageRequest, Scheduler
from challenge.seeds import derive_seed
from challenge.spec import DatasetSpec
from challenge.stop import StopRequest
from challenge.submission import SubmissionFile

MAX_REJECTED_SHARE = 0.1
BLACK = 2 / 255  # an image with no brighter value than this is black


@dataclass(frozen=True)
class DatasetResult:
    """A data set that is done: its file, what is in it and where its seconds went."""

    dataset: str
    file: SubmissionFile
    generated: int
    generated_per_class: int
    rejected: int
    batch_size: int
    images_per_s: float
    why_stopped: str
    fault: str | None
    start_s: float
    end_s: float
    deadline_s: float

    @property
    def late_s(self) -> float:
        """Seconds past the deadline at which the file was safe on disk; 0 when it was in time."""
        return max(0.0, self.end_s - self.deadline_s)


@dataclass(frozen=True)
class RunParts:
    """What the data sets of a run share."""

    device: torch.device
    run_dir: Path
    run_seed: int
    clock: Clock
    timer: PhaseTimer
    emit: Emit
    stop: StopRequest


class PromptDeck:
    """Deals out a class's whole pool of prompts in an order that the run seed picks."""

    def __init__(self, book: PromptBook, run_seed: int) -> None:
        self._pools = []
        for entry in book.classes:
            pool = list(book.prompts_for(entry.index))
            random.Random(derive_seed(run_seed, book.dataset, "prompts", entry.index)).shuffle(pool)
            self._pools.append(pool)

    def prompt(self, request: ImageRequest) -> str:
        """The prompt of this image; a second attempt asks for the same."""
        pool = self._pools[request.class_index]
        return pool[request.round_index % len(pool)]


class DatasetRun:
    """Makes one data set's images until the scheduler says stop, and writes its submission."""

    def __init__(
        self,
        parts: RunParts,
        spec: DatasetSpec,
        book: PromptBook,
        generator: ImageGenerator,
        scheduler: Scheduler,
        packer: Packer,
        journal: JournalWriter,
    ) -> None:
        self._parts, self._spec, self._generator = parts, spec, generator
        self._scheduler, self._packer, self._journal = scheduler, packer, journal
        self._deck = PromptDeck(book, parts.run_seed)
        self._image_size = generator.image_size(spec.image_size)
        self._path = parts.run_dir / spec.file_name
        self._file: SubmissionFile | None = None
        self._fault: str | None = None
        self._file_s = 0.0  # when it was safe on disk

    def run(self) -> DatasetResult:
        """Fill the journal and the submission; returns when the last file is safe on disk.

        When the disk refuses, the model fails, or the last file would be late, the best file that
        is in time is the result, and ``fault`` says why. When there is none yet, raises what
        happened: ``BudgetError`` (not even one image of each class), ``GenerationError``,
        ``JournalError`` or ``SubmissionError``.
        """
        with self._parts.timer.scope(self._spec.name):
            try:
                with self._parts.timer.phase("generate"):
                    self._generate()
            except ChallengeError as error:
                self._note_fault(error, "packing what was made until then")
            try:
                if self._scheduler.file_is_outdated:
                    self._write_file(final=True)
            except ChallengeError as error:
                self._note_fault(error, f"the file of {self._file_s:.1f} s stands")
        return self._result()

    def _note_fault(self, error: ChallengeError, consequence: str) -> None:
        """Go on where a file stands; without one ``error`` is raised again."""
        if self._file is None:
            raise error
        self._fault = f"{error}; {consequence}"
        self._parts.emit(Notice(self._fault, "warning"))

    def _generate(self) -> None:
        while batch := self._scheduler.next_batch(self._parts.clock()):
            self._make(batch)
            if self._parts.stop.signal_name:
                self._finish_now(self._parts.stop.signal_name)
            elif self._scheduler.file_is_due(self._parts.clock()):
                self._write_file_on_the_way()

    def _finish_now(self, signal_name: str) -> None:
        """Do as the first signal asks, and say so once."""
        reason = f"stopped by {signal_name}"
        if self._scheduler.stopped_because != reason:
            self._scheduler.finish_now(reason)
            rest = "" if min(self._scheduler.counts) else " after one image of each class"
            text = f"{signal_name}: finishing with what there is{rest}; once more ends at once"
            self._parts.emit(Notice(text, "warning"))

    def _make(self, batch: Sequence[ImageRequest]) -> None:
        """Make, judge and journal one batch, and tell the scheduler what came of it."""
        started_s = self._parts.clock()
        try:
            thumbnails, usable = self._thumbnails(batch)
        except torch.OutOfMemoryError:
            thumbnails, usable = None, []  # the memory is free once the exception is gone
        except RuntimeError as error:
            first_line = str(error).strip().partition("\n")[0]
            raise GenerationError(f"the model failed: {first_line}") from error
        if thumbnails is None:
            self._halve(batch)
            return
        accepted = [request for request, good in zip(batch, usable, strict=True) if good]
        rejected = [request for request, good in zip(batch, usable, strict=True) if not good]
        if accepted:
            self._journal.append(
                JournalBatch(
                    class_indices=[request.class_index for request in accepted],
                    round_indices=[request.round_index for request in accepted],
                    attempts=[request.attempt for request in accepted],
                    images=thumbnails[torch.tensor(usable)],
                )
            )
        seconds = self._parts.clock() - started_s
        self._scheduler.finished(accepted, rejected, seconds)
        self._require_mostly_usable()
        self._tell_batch(len(batch), len(rejected), seconds)

    def _thumbnails(
        self, batch: Sequence[ImageRequest]
    ) -> tuple[UInt8[Tensor, "B 3 S S"], list[bool]]:
        """Images at the data set's size, and for each whether it can be used, both on the CPU."""
        prompts = [self._deck.prompt(request) for request in batch]
        images = self._generator.generate(
            prompts, [request.seed for request in batch], self._image_size
        )
        usable = are_usable(images)
        thumbnails = to_uint8(shrink(images.nan_to_num(), self._spec.image_size))
        return thumbnails.cpu(), usable.tolist()

    def _halve(self, batch: Sequence[ImageRequest]) -> None:
        """Go on with smaller batches after the device ran out of memory."""
        torch.cuda.empty_cache()
        if not self._scheduler.out_of_memory(batch):
            raise GenerationError(
                "out of memory with a batch of one image; free the device, or take a smaller model"
            )
        next_size = self._scheduler.batch_size
        text = f"out of memory with a batch of {len(batch)}; going on with {next_size}"
        self._parts.emit(Notice(text, "warning"))

    def _require_mostly_usable(self) -> None:
        made = self._scheduler.generated + self._scheduler.rejected
        if made >= 20 and self._scheduler.rejected > MAX_REJECTED_SHARE * made:
            generator = self._generator.description
            raise GenerationError(
                f"{self._scheduler.rejected} of {made} images were NaN or black "
                f"(model {generator.model}, {generator.dtype}); "
                "try --dtype float32 or bfloat16"
            )

    def _write_file_on_the_way(self) -> None:
        """Write a file; where one stands already, a failure is told and tried again later."""
        started_s = self._parts.clock()
        try:
            self._write_file(final=False)
        except SubmissionError as error:
            if self._file is None:
                raise
            self._scheduler.file_tried(self._parts.clock() - started_s)
            self._parts.emit(Notice(f"going on with the file that stands: {error}", "warning"))

    def _write_file(self, *, final: bool) -> None:
        """Pack all that was made, replacing the file that stands."""
        started_s = self._parts.clock()
        plan, deadline_s = self._scheduler.file_plan(), self._scheduler.deadline.end_s
        with self._parts.timer.phase("write"):
            source = self._journal.reader()
            self._file = self._packer.write(source, plan, self._path, deadline_s)
        self._file_s = self._parts.clock()
        seconds = self._file_s - started_s
        self._scheduler.file_written(self._file.images, seconds)
        self._parts.emit(FileWritten(self._spec.name, plan.ipc, self._file.images, seconds, final))

    def _tell_batch(self, size: int, rejected: int, seconds: float) -> None:
        scheduler, now_s = self._scheduler, self._parts.clock()
        generate_s = self._parts.timer.totals_s(self._spec.name)["generate"]
        self._parts.emit(
            BatchFinished(
                dataset=self._spec.name,
                size=size,
                seconds=seconds,
                rejected=rejected,
                made=scheduler.generated,
                ipc=min(scheduler.counts),
                projected_ipc=scheduler.projected_ipc(now_s),
                images_per_s=scheduler.generated / generate_s,
            )
        )

    def _result(self) -> DatasetResult:
        assert self._file is not None  # run() wrote it
        scheduler = self._scheduler
        result = DatasetResult(
            dataset=self._spec.name,
            file=self._file,
            generated=scheduler.generated,
            generated_per_class=min(scheduler.counts),
            rejected=scheduler.rejected,
            batch_size=scheduler.batch_size,
            images_per_s=scheduler.generated
            / self._parts.timer.totals_s(self._spec.name)["generate"],
            why_stopped=self._fault or scheduler.stopped_because,
            fault=self._fault,
            start_s=self._scheduler.deadline.start_s,
            end_s=self._file_s,
            deadline_s=self._scheduler.deadline.end_s,
        )
        self._parts.emit(
            DatasetFinished(
                result.dataset,
                str(self._path),
                self._file.ipc,
                result.generated,
                result.end_s - result.start_s,
                result.why_stopped,
            )
        )
        return result


def are_usable(images: Float[Tensor, "B 3 H W"]) -> Bool[Tensor, " B"]:
    """Which images hold no NaN, no infinity, and are not black."""
    flat = images.flatten(1)
    return flat.isfinite().all(dim=1) & (flat.amax(dim=1) > BLACK)
