"""Makes before the clock runs what a run would have to make inside its limit.

Prompt embeddings, a decoder of thumbnails for each resolution, and the UNet's blocks compiled for
the batch size that is best there; a run finds them by what they belong to (prepared.py,
compile_facts.py). With the first two a run reads the UNet's weights and no others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from challenge.batch_sizer import LONGEST_BATCH_SHARE, BatchSizer
from challenge.compile_facts import CompileFacts, CompileFactsFile, compile_unet, import_compiler
from challenge.decoder_choice import (
    decibels,
    groups_of,
    head_owner,
    pair_count,
    spread_prompts,
)
from challenge.errors import GenerationError, first_line
from challenge.generators.decoder_file import save_head
from challenge.generators.decoder_fitting import HeadName, fit_decoder
from challenge.generators.decoders import ThumbnailDecoder
from challenge.generators.device_memory import room_for_twice
from challenge.generators.embeddings_file import write_embeddings
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.prepared import embeddings_owner, prepared_file
from challenge.prompts import PromptBook
from challenge.quantizing import quantize_for
from challenge.seeds import derive_seed
from challenge.settings import PrepareSettings
from challenge.spec import LIMIT_S, DatasetSpec

TRAINING_S = 60.0  # of a trained decoder: nobody waits for it
TURNS = 4  # of a batch before and after the compilation

Books = Mapping[DatasetSpec, PromptBook]


@dataclass(frozen=True)
class Prepared:
    """One file that was made, or why none was."""

    what: str
    path: Path | None
    bytes: int
    seconds: float
    remark: str


def prepare(
    settings: PrepareSettings,
    books: Books,
    generator: OneStepGenerator,
    folder: Path,
    clock: Callable[[], float],
) -> list[Prepared]:
    """Encode all prompts, fit the decoders, compile if asked to; keep all of it.

    Raises:
        GenerationError: what was to be compiled cannot be.
        OSError: the folder cannot be written.
        PromptError: a prompt is too long.
    """
    made = [_keep_embeddings(spec, book, generator, folder, clock) for spec, book in books.items()]
    generator.release_text_encoders()
    if settings.decoder != "vae":
        for group in groups_of(books, generator):
            made.append(_keep_decoder(settings, group, generator, folder, clock))
    if settings.quantize != "none":
        started_s = clock()  # nothing is kept of it: what follows is measured with it
        damage = quantize_for(books, generator, settings.quantize, run_seed=0)
        seconds = clock() - started_s
        made.append(Prepared("linear layers quantized", None, 0, seconds, str(damage)))
    if settings.compile:
        for spec, book in books.items():
            resolution = generator.resolution(spec.image_size)
            if resolution in {side for _, side in generator.compiled}:
                continue  # data sets of this model share it
            made.append(_keep_compiled(settings, spec, book, generator, folder, clock))
    return made


def _keep_embeddings(
    spec: DatasetSpec,
    book: PromptBook,
    generator: OneStepGenerator,
    folder: Path,
    clock: Callable[[], float],
) -> Prepared:
    started_s = clock()
    prompts = list(dict.fromkeys(book.all_prompts()))
    owner = embeddings_owner(generator, spec.name)
    path = prepared_file(folder, "embeddings", owner)
    write_embeddings(path, prompts, owner, generator.encoded(prompts))
    generator.embeddings.load(path, owner)
    what = f"embeddings of {spec.title}"
    seconds = clock() - started_s
    return Prepared(what, path, path.stat().st_size, seconds, f"{len(prompts):,} prompts")


def _keep_decoder(
    settings: PrepareSettings,
    group: Books,
    generator: OneStepGenerator,
    folder: Path,
    clock: Callable[[], float],
) -> Prepared:
    """Fit the decoder asked for, or the first that is good; an older one that was kept goes."""
    started_s = clock()
    targets = [spec.image_size for spec in group]
    what = f"decoder for {' and '.join(spec.title for spec in group)}"
    owner = head_owner(generator, targets[0])
    path = prepared_file(folder, "decoder", owner)
    path.unlink(missing_ok=True)
    remarks = []
    for name in _names(settings):
        prompts = spread_prompts(list(group.values()), pair_count(name, generator, targets[0]))
        seeds = [derive_seed(0, "decoder", number) for number in range(len(prompts))]
        head, report = fit_decoder(
            name, generator, prompts, seeds, targets, budget_s=TRAINING_S, clock=clock
        )
        remarks.append(f"{name}: PSNR {decibels(report)}")
        if report.good_enough:
            save_head(path, head, report, owner)
            for target in targets:
                generator.use_decoder(target, ThumbnailDecoder(head))
            size = path.stat().st_size
            return Prepared(what, path, size, clock() - started_s, "; ".join(remarks))
    remarks.append("not good enough, so none is kept")
    return Prepared(what, None, 0, clock() - started_s, "; ".join(remarks))


def _names(settings: PrepareSettings) -> tuple[HeadName, ...]:
    if settings.decoder == "linear" or settings.decoder == "thumbnail":
        return (settings.decoder,)
    return ("linear", "thumbnail")


def _keep_compiled(
    settings: PrepareSettings,
    spec: DatasetSpec,
    book: PromptBook,
    generator: OneStepGenerator,
    folder: Path,
    clock: Callable[[], float],
) -> Prepared:
    """Compile for the batch size that was given, or is found; measure what it takes and wins."""
    started_s = clock()
    resolution, side = generator.resolution(spec.image_size), generator.image_size(spec.image_size)
    firsts = [book.prompts_for(entry.index)[0] for entry in book.classes]

    def prompts_of(size: int) -> list[str]:
        return [firsts[number % len(firsts)] for number in range(size)]

    def batch_s(size: int) -> float:
        begun_s = clock()
        images = generator.generate(prompts_of(size), range(size), side)
        images.flatten()[0].item()  # waits for the device
        return clock() - begun_s

    import_s = -clock()
    import_compiler()
    import_s += clock()
    size = _best_size(settings, batch_s, room_for_twice(generator.device))
    file = CompileFactsFile(folder, generator, resolution)
    prompts = prompts_of(size)
    try:
        cold = compile_unet(generator, prompts, range(size), resolution, file.code_folder, clock)
        plain_s, compiled_s = list[float](), list[float]()
        for _ in range(TURNS):
            for times_s, generator.uses_compiled in ((plain_s, False), (compiled_s, True)):
                times_s.append(batch_s(size))
        torch.compiler.reset()  # what a run finds: nothing in memory, all of it in the folder
        warm = compile_unet(generator, prompts, range(size), resolution, file.code_folder, clock)
    except Exception as error:  # torch, compilers and drivers raise anything
        raise GenerationError(
            f"the UNet's blocks cannot be compiled: {first_line(error)}; leave --compile away"
        ) from error
    if warm.warm_s is not None:
        warm = CompileFacts(warm_s=warm.warm_s + import_s)
    facts = CompileFacts(None, None, min(plain_s), min(compiled_s))
    file.save(size, facts.joined(cold).joined(warm))
    what = f"compiled blocks for {spec.title}, batch of {size}"
    remark = f"{size / min(plain_s):.3g} images/s, compiled {size / min(compiled_s):.3g}"
    if cold.cold_s is not None:
        remark += f"; cold {cold.cold_s:.1f} s"
    if warm.warm_s is not None:
        remark += f", warm {warm.warm_s:.1f} s"
    path = file.path(size)
    return Prepared(what, path, _bytes_in(file.code_folder), clock() - started_s, remark)


def _best_size(
    settings: PrepareSettings, batch_s: Callable[[int], float], has_room: Callable[[], bool]
) -> int:
    """The batch size that a run would settle on."""
    fixed = None if settings.batch_size == "auto" else settings.batch_size
    sizer = BatchSizer(fixed, LONGEST_BATCH_SHARE * LIMIT_S, has_room=has_room)
    while not sizer.settled:
        try:
            sizer.observe(sizer.size, batch_s(sizer.size), LIMIT_S)
        except torch.OutOfMemoryError:
            if not sizer.out_of_memory(sizer.size):
                raise
    return sizer.size


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
