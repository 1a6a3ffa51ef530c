"""The timed run: load, encode, warm up, then make and pack each data set before its deadline.

Emits events and prints nothing. Everything that takes time is measured on the one clock that was
handed in; every second belongs to a named phase, so the phases sum to the time at which the last
file was safe on disk.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from challenge.budget import BatchCost, Deadline, PackCost, PhaseTimer
from challenge.dataset_run import DatasetResult, DatasetRun, RunParts
from challenge.errors import BudgetError, ChallengeError, GenerationError, JournalError
from challenge.events import DatasetStarted, Notice, PhaseStarted
from challenge.file_plan import FilePlan
from challenge.generators.base import GeneratorDescription, ImageGenerator
from challenge.images import shrink, to_uint8
from challenge.journal import JournalWriter
from challenge.packing import Packer
from challenge.prompts import PromptBook
from challenge.scheduler import BalancedRounds, BatchSizer, Costs, Scheduler
from challenge.settings import ClockName, GenerateSettings
from challenge.spec import DatasetSpec

LONGEST_BATCH_SHARE = 0.01  # of the limit: what is lost at the end is half a batch on average


@dataclass(frozen=True)
class RunResult:
    """A finished run, or one that failed: then ``error`` says why.

    ``generation_start_s`` is where the clock of ``--clock generation`` starts; ``end_s`` is when
    the last file was safe on disk; both in seconds of the run's clock.
    """

    datasets: tuple[DatasetResult, ...]
    generator: GeneratorDescription | None
    generation_start_s: float
    end_s: float
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
    kept.
    """
    done: list[DatasetResult] = []
    description, generation_start_s = None, 0.0
    error: ChallengeError | None = None
    try:
        generator, costs = _prepare(settings, books, load, parts)
        description = generator.description
        generation_start_s = parts.clock()
        run_start_s = start_s = generation_start_s if settings.clock == "generation" else 0.0
        for index, (spec, book) in enumerate(books.items()):
            deadline = Deadline.share(
                start_s=start_s,
                run_start_s=run_start_s,
                limit_s=settings.limit_s,
                covers=settings.limit_covers,
                sets_left=len(books) - index,
            )
            done.append(_run_dataset(settings, spec, book, generator, costs[spec], deadline, parts))
            start_s = done[-1].end_s
    except ChallengeError as fault:
        error = fault
    except torch.OutOfMemoryError:
        error = GenerationError(
            f"{parts.device} is out of memory before the first image is made; "
            "free it, or take a smaller model or --dtype"
        )
    end_s = done[-1].end_s if done else parts.clock()
    stopped_by = parts.stop.signal_name
    return RunResult(tuple(done), description, generation_start_s, end_s, stopped_by, error)


def _prepare(
    settings: GenerateSettings,
    books: Mapping[DatasetSpec, PromptBook],
    load: Callable[[], ImageGenerator],
    parts: RunParts,
) -> tuple[ImageGenerator, dict[DatasetSpec, Costs]]:
    """Load the model, encode all prompts, measure first costs: all that the sets share."""
    _begin(parts, "load")
    generator = load()
    if generator.description.note:
        parts.emit(Notice(generator.description.note, "warning"))
    _begin(parts, "encode")
    generator.encode_prompts([prompt for book in books.values() for prompt in book.all_prompts()])
    generator.release_text_encoders()
    _begin(parts, "warm_up")
    by_size: dict[int, tuple[BatchCost, BatchSizer]] = {}
    costs = {}
    for spec, book in books.items():
        size = generator.image_size(spec.image_size)
        if size not in by_size:
            by_size[size] = _first_batch_costs(settings, spec, book, generator, parts)
        batch, sizer = by_size[size]
        costs[spec] = Costs(batch, _first_pack_costs(settings, spec, parts), sizer)
    parts.timer.begin("other")
    return generator, costs


def _begin(parts: RunParts, phase: str) -> None:
    parts.timer.begin(phase)
    parts.emit(PhaseStarted(phase))


def _first_batch_costs(
    settings: GenerateSettings,
    spec: DatasetSpec,
    book: PromptBook,
    generator: ImageGenerator,
    parts: RunParts,
) -> tuple[BatchCost, BatchSizer]:
    """Warm up with one image, then time another, unless the first took too long."""
    cost = BatchCost()
    prompts, image_size = [book.prompts_for(0)[0]], generator.image_size(spec.image_size)
    for _ in range(2):
        started_s = parts.clock()
        images = generator.generate(prompts, [0], image_size)
        to_uint8(shrink(images, spec.image_size)).cpu()
        seconds = parts.clock() - started_s
        if seconds > settings.limit_s / 20:
            break
    cost.observe(1, seconds)
    fixed = None if settings.batch_size == "auto" else settings.batch_size
    return cost, BatchSizer(fixed, LONGEST_BATCH_SHARE * settings.limit_s)


class _NoiseSource:
    """One random image a class, to measure what packing costs before there are real ones."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._image = torch.randint(0, 256, (1, *spec.image_shape), dtype=torch.uint8)

    def read(self, class_index: int) -> UInt8[Tensor, "1 3 S S"]:
        """The same image for every class."""
        return self._image


def _first_pack_costs(settings: GenerateSettings, spec: DatasetSpec, parts: RunParts) -> PackCost:
    """Pack noise through the real augmentation, writer and disk, at two sizes."""
    cost = PackCost()
    timer = PhaseTimer(parts.clock, "")  # all of this is warm-up
    packer = Packer(spec, settings.augment, settings.seed, parts.device, timer)
    path = parts.run_dir / f".warm-up-{spec.file_name}"
    most = 10 if settings.ipc == "auto" else min(10, settings.ipc)
    for ipc, counts in ((most, False), (1, True), (most, True)):
        started_s = parts.clock()
        written = packer.write(_NoiseSource(spec), FilePlan(ipc), path, deadline_s=math.inf)
        if counts:
            cost.observe(written.images, parts.clock() - started_s)
    path.unlink()
    return cost


def _run_dataset(
    settings: GenerateSettings,
    spec: DatasetSpec,
    book: PromptBook,
    generator: ImageGenerator,
    costs: Costs,
    deadline: Deadline,
    parts: RunParts,
) -> DatasetResult:
    """One data set from its first batch to its submission."""
    now_s = parts.clock()
    if now_s >= deadline.end_s:
        raise BudgetError(
            f"the limit of {settings.limit_s:g} s was over before the first image of {spec.name}: "
            f"start-up, loading and warm-up took {now_s:.1f} s; raise --limit-s"
        )
    target_ipc = None if settings.ipc == "auto" else settings.ipc
    rounds = BalancedRounds(spec.name, spec.num_classes, settings.seed, target_ipc)
    scheduler = Scheduler(
        rounds, costs, deadline, target_ipc=target_ipc, augment=settings.augment != "none"
    )
    parts.emit(
        DatasetStarted(spec.name, spec.num_classes, deadline.start_s, deadline.end_s, target_ipc)
    )
    header = {
        "dataset": spec.name,
        "model": settings.model,
        "seed": settings.seed,
        "prompts_sha256": book.sha256,
    }
    packer = Packer(spec, settings.augment, settings.seed, parts.device, parts.timer)
    path = parts.run_dir / f"{spec.name}.journal"
    result = None
    try:
        with JournalWriter(path, header, spec.image_shape) as journal:
            result = DatasetRun(parts, spec, book, generator, scheduler, packer, journal).run()
    except JournalError:
        if result is None or result.fault is None:  # else it was told already, and a file stands
            raise
    return result
