"""Makes before the clock runs what a run would have to make inside its limit.

Prompt embeddings, and a decoder of thumbnails for each resolution; a run finds them by what they
belong to (prepared.py). With both of them a run reads the UNet's weights and no others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from challenge.decoder_choice import (
    decibels,
    groups_of,
    head_owner,
    pair_count,
    spread_prompts,
)
from challenge.generators.decoder_file import save_head
from challenge.generators.decoder_fitting import HeadName, fit_decoder
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.prepared import embeddings_owner, prepared_file
from challenge.prompts import PromptBook
from challenge.seeds import derive_seed
from challenge.settings import PrepareSettings
from challenge.spec import DatasetSpec

TRAINING_S = 60.0  # of a trained decoder: nobody waits for it

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
    """Encode all prompts, fit the decoders, keep both.

    Raises:
        OSError: the folder cannot be written.
        PromptError: a prompt is too long.
    """
    made = [_keep_embeddings(spec, book, generator, folder, clock) for spec, book in books.items()]
    generator.release_text_encoders()
    if settings.decoder != "vae":
        for group in groups_of(books, generator):
            made.append(_keep_decoder(settings, group, generator, folder, clock))
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
    generator.encode_prompts(prompts)
    owner = embeddings_owner(generator, spec.name)
    path = prepared_file(folder, "embeddings", owner)
    generator.embeddings.save(path, prompts, owner)
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
            size = path.stat().st_size
            return Prepared(what, path, size, clock() - started_s, "; ".join(remarks))
    remarks.append("not good enough, so none is kept")
    return Prepared(what, None, 0, clock() - started_s, "; ".join(remarks))


def _names(settings: PrepareSettings) -> tuple[HeadName, ...]:
    if settings.decoder == "linear" or settings.decoder == "thumbnail":
        return (settings.decoder,)
    return ("linear", "thumbnail")
