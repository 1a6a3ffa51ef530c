"""One data set of a run: generate, frame, journal, and keep a valid file standing.

The first valid file is written after the first complete round. It is replaced now and then while
that costs under one per cent of the time; these files also teach the scheduler what the last one
will cost.
"""

from collections.abc import Callable, Sequence

import torch

from challenge.batch_maker import BatchMaker, PromptDeck
from challenge.errors import ChallengeError, GenerationError, StalledError, first_line
from challenge.events import BatchFinished, DatasetFinished, Notice
from challenge.file_keeper import FileKeeper
from challenge.generators.base import ImageGenerator
from challenge.journal import JournalBatch, JournalWriter
from challenge.packing import Packer
from challenge.prompts import PromptBook
from challenge.rounds import ImageRequest
from challenge.run_parts import RunParts
from challenge.run_state import DatasetResult, StandingFile
from challenge.scheduler import Scheduler
from challenge.spec import DatasetSpec
from challenge.stop import interrupting_after
from challenge.thumbnails import ThumbnailMaker

MAX_REJECTED_SHARE = 0.1
MAX_FAILURES = 3  # of the model, one after the other


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
        thumbnail_maker: ThumbnailMaker,
        batch_made: Callable[[int, float], float],
    ) -> None:
        # told a batch's size and seconds; tells what it took up itself, between two batches
        self._batch_made = batch_made
        self._parts, self._spec, self._generator = parts, spec, generator
        self._thumbnail_maker = thumbnail_maker
        self._scheduler, self._packer, self._journal = scheduler, packer, journal
        self._maker = BatchMaker(
            generator,
            thumbnail_maker,
            PromptDeck(book, parts.run_seed),
            looks_ahead=parts.looks_ahead,
            emit=parts.emit,
        )
        self._image_size = generator.image_size(spec.image_size)
        self._resumed = scheduler.generated
        self._failures = 0
        self._batch_end_s = 0.0
        self._errors: list[ChallengeError] = []
        self._file = FileKeeper(parts, spec, scheduler, packer, journal)

    def run(self) -> DatasetResult:
        """Fill the journal and the submission; returns when the last file is safe on disk.

        When the disk refuses, the model fails or stalls, or the last file would be late, the best
        file that is in time is the result, and ``fault`` says why. When there is none, raises what
        happened first: ``BudgetError`` (not even one image of each class), ``GenerationError``,
        ``JournalError`` or ``SubmissionError``.
        """
        with self._parts.timer.scope(self._spec.name):
            try:
                self._attempt(self._generate_all)
                self._attempt(self._file.write_last)
                while not self._errors and self._scheduler.may_go_on(self._parts.clock()):
                    self._parts.guard.unclaim()
                    self._attempt(self._generate_all)
                    self._attempt(self._file.write_last)
                self._file.take_over_guards_file()
                if self._file.standing is None:
                    raise self._errors[0]
                return self._result(self._file.standing)
            finally:
                self._parts.guard.watch(None)

    def _attempt(self, action: Callable[[], None]) -> None:
        """Do it; what goes wrong is kept, since a file may stand all the same."""
        try:
            action()
        except ChallengeError as error:
            self._errors.append(error)
            if standing := self._file.standing:
                text = f"{error}; the file of {standing.end_s:.1f} s stands"
                self._parts.emit(Notice(text, "warning"))

    def _generate_all(self) -> None:
        with self._parts.timer.phase("generate"):
            self._generate()

    def _generate(self) -> None:
        self._file.tell_guard()
        while batch := self._scheduler.next_batch(self._parts.clock()):
            self._make(batch)
            self._file.tell_guard()
            self._parts.stop.raise_if_ended()
            if self._parts.stop.signal_name:
                self._finish_now(self._parts.stop.signal_name)
            elif not self._maker.is_under_way and self._scheduler.file_is_due(self._parts.clock()):
                self._file.write_on_the_way()
        self._maker.throw_away()

    def _finish_now(self, signal_name: str) -> None:
        """Do as the first signal asks, and say so once."""
        reason = f"stopped by {signal_name}"
        if self._scheduler.stopped_because != reason:
            self._scheduler.finish_now(reason)
            rest = "" if min(self._scheduler.counts) else " after one image of each class"
            text = f"{signal_name}: finishing with what there is{rest}"
            self._parts.emit(Notice(f"{text}; Ctrl-C or SIGTERM now ends at once", "warning"))

    def _make(self, batch: Sequence[ImageRequest]) -> None:
        """Make, judge and journal one batch, and tell the scheduler what came of it.

        One that was begun ahead has cost what passed since the end of the one before.
        """
        now_s = self._parts.clock()
        started_s = self._batch_end_s if self._maker.has_begun(batch) else now_s
        try:
            with interrupting_after(self._scheduler.patience_s(len(batch), now_s)):
                thumbnails, usable = self._maker.make(
                    batch, lambda: self._scheduler.guess_next(self._parts.clock())
                )
        except torch.OutOfMemoryError:
            thumbnails, usable = None, []  # the memory is free once the exception is gone
        except (RuntimeError, StalledError) as error:
            if isinstance(error, StalledError) and self._must_pack():
                raise
            self._try_again(batch, error)
            return
        if thumbnails is None:
            self._halve(batch)
            return
        self._failures = 0
        accepted = [request for request, good in zip(batch, usable, strict=True) if good]
        rejected = [request for request, good in zip(batch, usable, strict=True) if not good]
        self._journal.append(
            JournalBatch(
                accepted=[request.place for request in accepted],
                images=thumbnails[torch.tensor(usable)],
                rejected=[request.place for request in rejected],
            )
        )
        self._batch_end_s = now_s = self._parts.clock()
        self._parts.notes.setdefault("first_batch_s", now_s)
        self._scheduler.finished(accepted, rejected, now_s - started_s, now_s)
        self._require_mostly_usable()
        self._tell_batch(len(batch), len(rejected), now_s - started_s)
        self._batch_end_s += self._batch_made(len(batch), now_s - started_s)

    def _must_pack(self) -> bool:
        return self._parts.clock() >= self._scheduler.interrupt_at_s()

    def _try_again(self, batch: Sequence[ImageRequest], error: Exception) -> None:
        """Make the same batch once more; a model that fails again and again is an error."""
        self._failures += 1
        reason = first_line(error)
        if self._failures >= MAX_FAILURES:
            raise GenerationError(
                f"the model failed {self._failures} times running: {reason}"
            ) from error
        self._scheduler.try_again(batch)
        self._parts.emit(Notice(f"the model failed, trying again: {reason}", "warning"))

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
                f"(model {generator.model}, {generator.dtype}, decoder {generator.decoder}); "
                "try --dtype float32 or bfloat16"
            )

    def _tell_batch(self, size: int, rejected: int, seconds: float) -> None:
        scheduler, now_s = self._scheduler, self._parts.clock()
        self._parts.emit(
            BatchFinished(
                dataset=self._spec.name,
                size=size,
                seconds=seconds,
                rejected=rejected,
                made=scheduler.generated,
                ipc=min(scheduler.counts),
                projected_ipc=scheduler.projected_ipc(now_s),
                images_per_s=self._images_per_s(),
            )
        )

    def _images_per_s(self) -> float:
        """Of this process, while it generates."""
        generate_s = self._parts.timer.totals_s(self._spec.name).get("generate", 0.0)
        made = self._scheduler.generated - self._resumed
        return made / generate_s if made else 0.0

    def _result(self, standing: StandingFile) -> DatasetResult:
        scheduler = self._scheduler
        result = DatasetResult(
            dataset=self._spec.name,
            file=standing.file,
            generated=scheduler.generated,
            generated_per_class=min(scheduler.counts),
            rejected=scheduler.rejected,
            batch_size=scheduler.batch_size,
            images_per_s=self._images_per_s(),
            why_stopped=self._why_stopped(),
            fault=self._fault(standing),
            choices=tuple(scheduler.choices),
            start_s=scheduler.deadline.start_s,
            end_s=standing.end_s,
            done_s=self._done_s(standing),
            deadline_s=scheduler.deadline.end_s,
            framing=self._thumbnail_maker.framing_for(self._image_size),
            colour=self._packer.colour.record() if self._packer.colour else None,
        )
        if self._packer.colour:
            self._parts.emit(Notice(f"{self._spec.title}: {self._packer.colour}"))
        self._parts.emit(
            DatasetFinished(
                result.dataset,
                str(self._file.path),
                result.file.ipc,
                result.generated,
                result.end_s - result.start_s,
                result.why_stopped,
            )
        )
        return result

    def _done_s(self, standing: StandingFile) -> float:
        """When the next data set's time begins: after a fault at the end of the trying."""
        if not self._errors:
            return standing.end_s
        return max(standing.end_s, min(self._parts.clock(), self._scheduler.deadline.end_s))

    def _why_stopped(self) -> str:
        return str(self._errors[0]) if self._errors else self._scheduler.stopped_because

    def _fault(self, standing: StandingFile) -> str | None:
        """What went wrong although a file stands, and which file that is."""
        parts = [str(error) for error in self._errors]
        if standing.by_guard:
            parts.append(f"the guard packed {standing.rounds} rounds, since {standing.by_guard}")
        if not parts:
            return None
        return "; ".join([*parts, f"the file of {standing.end_s:.1f} s stands"])
