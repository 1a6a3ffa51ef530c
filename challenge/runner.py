"""The timed run: load, encode, warm up, then make and pack each data set before its deadline.

Emits events and prints nothing. Everything that takes time is measured on the one clock that was
handed in; every second belongs to a named phase, so the phases sum to the time at which the last
file was safe on disk.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from challenge.budget import Deadline
from challenge.compile_choice import CompileChoice
from challenge.dataset_run import DatasetRun
from challenge.errors import BudgetError, ChallengeError, GenerationError, JournalError
from challenge.events import DatasetStarted, Notice
from challenge.file_plan import FileCeiling, file_ceiling
from challenge.generators.base import GeneratorDescription, ImageGenerator
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.journal import JournalWriter
from challenge.packing import Packer
from challenge.prompts import PromptBook
from challenge.rounds import BalancedRounds
from challenge.run_parts import RunParts
from challenge.run_state import DatasetResult
from challenge.scheduler import Costs, Scheduler
from challenge.settings import ClockName, GenerateSettings
from challenge.spec import DatasetSpec
from challenge.thumbnails import ThumbnailMaker
from challenge.warm_up import prepare


@dataclass(frozen=True)
class RunResult:
    """A finished run, or one that failed: then ``error`` says why.

    ``generation_start_s`` is where the clock of ``--clock generation`` starts; ``end_s`` is when
    the last file was safe on disk, ``spent_s`` when the run ended, which is later where another
    file was tried in vain; all in seconds of the run's clock.
    """

    datasets: tuple[DatasetResult, ...]
    generator: GeneratorDescription | None
    generation_start_s: float
    end_s: float
    spent_s: float
    stopped_by: str | None
    error: ChallengeError | None

    def elapsed_s(self, clock: ClockName) -> float:
        """Seconds of the run on one of the two clocks."""
        return self.end_s - (self.generation_start_s if clock == "generation" else 0.0)

    @property
    def late_s(self) -> float:
        """Seconds by which a file missed its deadline, at worst; 0 when all were in time."""
        return max((result.late_s for result in self.datasets), default=0.0)


def run_generate(
    settings: GenerateSettings,
    books: Mapping[DatasetSpec, PromptBook],
    load: Callable[[], ImageGenerator],
    parts: RunParts,
) -> RunResult:
    """Make the submission of each data set in ``books``, in order; ``load`` makes the generator.

    A fault that a user can mend ends the run and stands in the result. What was finished before is
    kept. Where ``parts.state`` tells of an earlier process, its data sets are continued.
    """
    run = _Run(settings, books, parts)
    error: ChallengeError | None = None
    try:
        run.make(load)
    except ChallengeError as fault:
        error = fault
    except torch.OutOfMemoryError:
        error = GenerationError(
            f"{parts.device} is out of memory before the first image is made; "
            "free it, or take a smaller model or --dtype"
        )
    return RunResult(
        datasets=tuple(run.done),
        generator=run.description,
        generation_start_s=parts.state.generation_start_s or 0.0,
        end_s=run.done[-1].end_s if run.done else parts.clock(),
        spent_s=parts.clock(),
        stopped_by=parts.stop.signal_name,
        error=error,
    )


class _Run:
    """The data sets of a run, one after the other."""

    def __init__(
        self,
        settings: GenerateSettings,
        books: Mapping[DatasetSpec, PromptBook],
        parts: RunParts,
    ) -> None:
        self._settings, self._books, self._parts = settings, books, parts
        self.done: list[DatasetResult] = []
        self.description: GeneratorDescription | None = None

    def make(self, load: Callable[[], ImageGenerator]) -> None:
        """Make what is not done yet."""
        state, parts = self._parts.state, self._parts
        known = {name: entry.result for name, entry in state.datasets.items()}
        if all(known.get(spec.name) for spec in self._books):
            self.done = [result for result in known.values() if result]
            return
        for spec in self._books:
            if spec.name not in state.datasets:
                _require_room(spec, self._ceiling(spec))
        generator, costs, self._books = prepare(self._settings, self._books, load, parts)
        self.description = generator.description
        state.began(parts.clock(), self._settings.clock)
        for spec, book in self._books.items():
            entry = state.datasets.get(spec.name)
            if entry and entry.result:
                parts.emit(Notice(f"{spec.title} was done before"))
                self.done.append(entry.result)
            else:
                plan = self._plan(spec, costs[spec])
                self.done.append(_run_dataset(self._settings, plan, book, generator, parts))

    def _plan(self, spec: DatasetSpec, costs: Costs) -> "_Plan":
        """Time and room for the next data set."""
        run_start_s = 0.0
        if self._settings.clock == "generation":
            run_start_s = self._parts.state.generation_start_s or 0.0
        start_s = self.done[-1].done_s if self.done else run_start_s
        deadline = Deadline.share(
            start_s=start_s,
            run_start_s=run_start_s,
            limit_s=self._settings.limit_s,
            covers=self._settings.limit_covers,
            sets_left=self._sets_left,
        )
        return _Plan(spec, costs, deadline, self._ceiling(spec))

    @property
    def _sets_left(self) -> int:
        return len(self._books) - len(self.done)

    def _ceiling(self, spec: DatasetSpec) -> FileCeiling:
        free_bytes = shutil.disk_usage(self._parts.run_dir).free // self._sets_left
        return file_ceiling(spec, self._settings.max_file_gib, free_bytes)


@dataclass(frozen=True)
class _Plan:
    """What one data set may cost, take and hold."""

    spec: DatasetSpec
    costs: Costs
    deadline: Deadline
    ceiling: FileCeiling


def _run_dataset(
    settings: GenerateSettings,
    plan: _Plan,
    book: PromptBook,
    generator: ImageGenerator,
    parts: RunParts,
) -> DatasetResult:
    """One data set from its first batch, or the first after a resume, to its submission."""
    spec, deadline = plan.spec, plan.deadline
    parts.state.dataset_began(spec.name, deadline.start_s)
    _require_time_and_room(plan, parts)
    target_ipc = None if settings.ipc == "auto" else settings.ipc
    distinct = settings.distinct_ipc(spec.name)
    maker = ThumbnailMaker.of(settings, spec)
    scheduler = Scheduler(
        BalancedRounds(spec.name, spec.num_classes, settings.seed, distinct),
        plan.costs,
        deadline,
        target_ipc=target_ipc,
        augment=settings.augment,
        ceiling=plan.ceiling,
    )
    parts.emit(
        DatasetStarted(spec.name, spec.num_classes, deadline.start_s, deadline.end_s, target_ipc)
    )
    path = parts.run_dir / f"{spec.name}.journal"
    result = None
    try:
        header = journal_header(settings, book, generator.description)
        with JournalWriter(path, header, maker.shape) as journal:
            scheduler.resume((batch.accepted, batch.rejected) for batch in journal.batches)
            packer = Packer(
                spec,
                settings.augment,
                settings.seed,
                parts.device,
                parts.timer,
                match_colour=settings.match_colour,
            )
            choice = _compile_choice(settings, spec, book, generator, scheduler, parts)
            batch_made = choice.batch_made if choice else _do_nothing
            run = DatasetRun(
                parts, spec, book, generator, scheduler, packer, journal, maker, batch_made
            )
            result = run.run()
            if choice:
                choice.end()
    except JournalError:
        if result is None or result.fault is None:  # else it was told already, and a file stands
            raise
    if result.fault is None and parts.stop.signal_name is None:
        parts.state.dataset_done(result, parts.timer.totals_s(spec.name))
    return result


def _compile_choice(
    settings: GenerateSettings,
    spec: DatasetSpec,
    book: PromptBook,
    generator: ImageGenerator,
    scheduler: Scheduler,
    parts: RunParts,
) -> CompileChoice | None:
    """The choice to compile, which is to be told of each batch; None where there is none."""
    if settings.compile == "off" or not isinstance(generator, OneStepGenerator):
        return None
    return CompileChoice(settings, spec, book, generator, scheduler, parts)


def _do_nothing(size: int, seconds: float) -> float:
    """Nothing is to be done after a batch: no seconds went into it."""
    return 0.0


def _require_time_and_room(plan: _Plan, parts: RunParts) -> None:
    """Raise ``BudgetError`` when not one file can be made; where one stands the run may end."""
    if parts.state.datasets[plan.spec.name].standing:
        return
    now_s = parts.clock()
    if now_s >= plan.deadline.end_s:
        raise BudgetError(
            f"the limit of {plan.deadline.seconds:g} s was over before the first image of "
            f"{plan.spec.name}: start-up, loading and warm-up took {now_s:.1f} s; raise --limit-s"
        )
    _require_room(plan.spec, plan.ceiling)


def _require_room(spec: DatasetSpec, ceiling: FileCeiling) -> None:
    """Raise ``BudgetError`` when a file cannot hold one image of each class."""
    if ceiling.ipc < 1:
        raise BudgetError(
            f"there is no room for one image a class of {spec.name}, since "
            f"{ceiling.because}; make room, choose another folder or raise --max-file-gib"
        )


def journal_header(
    settings: GenerateSettings, book: PromptBook, generator: GeneratorDescription
) -> dict[str, object]:
    """What a resumed run must have in common with the one that began the journal."""
    return {
        "dataset": book.dataset,
        "model": generator.model,
        "weights": generator.fingerprint or generator.source,
        "dtype": generator.dtype,
        "decoder": generator.decoder,
        "seed": settings.seed,
        "prompts_sha256": book.pool_sha256,
        "framing": settings.framing,
        "shrink": settings.shrink,
        "jpeg": settings.jpeg,
    }
