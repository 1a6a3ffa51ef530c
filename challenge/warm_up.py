"""What all data sets of a run share, before the first image: load, encode, and measure first costs.

One image is made and thrown away, then another is timed; small files of noise go through the real
augmentation, writer and disk.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict

import torch
from jaxtyping import UInt8
from torch import Tensor

from challenge.batch_sizer import FIRST_SIZE, LONGEST_BATCH_SHARE, PLANNED_SIZE, BatchSizer
from challenge.budget import BatchCost, PackCost, PhaseTimer
from challenge.compile_choice import kept_batch_size
from challenge.decoder_choice import choose_decoders
from challenge.events import Notice, PhaseStarted, TrialBatch, TrialFile
from challenge.file_plan import FilePlan
from challenge.generators.base import ImageGenerator
from challenge.generators.device_memory import room_for_twice
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.packing import Packer
from challenge.prepared import use_stored_embeddings
from challenge.prompt_pools import encode_pools
from challenge.prompts import PromptBook
from challenge.quantizing import quantize_for
from challenge.rounds import ImageRequest
from challenge.run_parts import RunParts
from challenge.scheduler import Costs
from challenge.settings import GenerateSettings
from challenge.spec import DatasetSpec
from challenge.thumbnails import ThumbnailMaker

FIRST_REQUEST = ImageRequest(0, 0, attempt=0, seed=0)


def prepare(
    settings: GenerateSettings,
    books: Mapping[DatasetSpec, PromptBook],
    load: Callable[[], ImageGenerator],
    parts: RunParts,
) -> tuple[ImageGenerator, dict[DatasetSpec, Costs], dict[DatasetSpec, PromptBook]]:
    """Load the model, encode all prompts, choose the decoders, measure first costs.

    The books come back with pools of the size that was fixed for the run.

    Raises what loading raises, ``PromptError`` for a prompt that is too long, ``SubmissionError``
    when the disk refuses already.
    """
    _begin(parts, "load")
    generator = load()
    if generator.description.note:
        parts.emit(Notice(generator.description.note, "warning"))
    use_stored_embeddings(books, generator, parts)
    _begin(parts, "encode")
    books = encode_pools(settings, books, generator, parts)
    generator.release_text_encoders()
    if isinstance(generator, OneStepGenerator):
        parts.notes["embeddings"] = generator.embeddings.placement()
        parts.timer.begin("load")
        generator.unet  # noqa: B018  # only now: a small card has no room for all parts at a time
    _begin(parts, "fit")
    choices = choose_decoders(settings, books, generator, parts)
    if settings.quantize != "none":
        _begin(parts, "quantize")
        assert isinstance(generator, OneStepGenerator)  # settings refuse it for real images
        damage = quantize_for(books, generator, settings.quantize, settings.seed)
        parts.notes["quantize"] = asdict(damage)
        parts.emit(Notice(str(damage)))
        if settings.quantize == "fp8" and settings.compile != "on":
            parts.emit(Notice("fp8 is slow where nothing is compiled; see --compile on", "warning"))
    _begin(parts, "warm_up")
    by_size: dict[int, tuple[BatchCost, BatchSizer]] = {}
    costs = {}
    for spec, book in books.items():
        size = generator.image_size(spec.image_size)
        if size not in by_size:
            by_size[size] = _first_batch_costs(settings, spec, book, generator, parts)
        batch, sizer = by_size[size]
        pack = _first_pack_costs(settings, spec, parts)
        costs[spec] = Costs(batch, pack, sizer, choices[spec])
    parts.timer.begin("other")
    return generator, costs, books


def _begin(parts: RunParts, phase: str) -> None:
    parts.stop.raise_if_ended()
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
    maker = ThumbnailMaker.of(settings, spec)
    for _ in range(2):
        started_s = parts.clock()
        maker.make(generator.generate(prompts, [0], image_size), [FIRST_REQUEST])
        seconds = parts.clock() - started_s
        if seconds > settings.limit_s / 20:
            break
    cost.observe(1, seconds)
    parts.emit(TrialBatch(spec.name, 1, seconds))
    longest_s = LONGEST_BATCH_SHARE * settings.limit_s
    fixed = _fixed_batch_size(settings, seconds)
    fixed = fixed or kept_batch_size(settings, spec, generator, parts, longest_s)
    first, has_room = _first_size(parts, spec), room_for_twice(parts.device)
    return cost, BatchSizer(fixed, longest_s, first, has_room)


def _first_size(parts: RunParts, spec: DatasetSpec) -> int:
    """Where the search for the batch size begins: below what an earlier run settled on."""
    remembered = parts.batch_sizes.get(spec.name)
    return FIRST_SIZE if remembered is None else max(1, remembered // 2)


def _fixed_batch_size(settings: GenerateSettings, image_s: float) -> int | None:
    """The batch size that was given, or is part of the plan; None: it is found while running.

    With ``--ipc N`` the plan is fixed, so its batches are too: the same plan then gives the same
    file. Only a model so slow that a batch would take a quarter of the limit gets smaller ones.
    """
    if settings.batch_size != "auto":
        return settings.batch_size
    if settings.ipc == "auto":
        return None
    size = PLANNED_SIZE
    while size > 1 and size * image_s > settings.limit_s / 4:
        size //= 2
    return size


class _NoiseSource:
    """One random image a class, to measure what packing costs before there are real ones."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._image = torch.randint(0, 256, (1, 1, *spec.image_shape), dtype=torch.uint8)

    def read_views(self, class_index: int, most: int | None = None) -> UInt8[Tensor, "1 1 3 S S"]:
        """The same image for every class."""
        return self._image


def _first_pack_costs(settings: GenerateSettings, spec: DatasetSpec, parts: RunParts) -> PackCost:
    """Pack noise through the real augmentation, writer and disk, at two sizes."""
    cost = PackCost()
    timer = PhaseTimer(parts.clock, "")  # all of this is warm-up
    packer = Packer(
        spec,
        settings.augment,
        settings.seed,
        parts.device,
        timer,
        match_colour=settings.match_colour,
    )
    path = parts.run_dir / f".warm-up-{spec.file_name}"
    most = 10 if settings.ipc == "auto" else min(10, settings.ipc)
    for ipc, counts in ((most, False), (1, True), (most, True)):
        started_s = parts.clock()
        written = packer.write(_NoiseSource(spec), FilePlan(ipc), path, deadline_s=math.inf)
        if counts:
            seconds = parts.clock() - started_s
            cost.observe(written.images, seconds)
            parts.emit(TrialFile(spec.name, written.images, seconds, timer.totals_s()))
    path.unlink()
    return cost
