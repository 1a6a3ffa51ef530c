"""What the ``prepare`` command left in the cache folder, and how a run uses it.

Prompt embeddings, a file a data set, and decoders of thumbnails, a file a resolution. A file is
named for what it belongs to, which it also says itself. One that is damaged or out of date is told
in a warning, and the run does without.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from challenge.errors import WeightsError
from challenge.events import Notice
from challenge.generators.base import ImageGenerator
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.prompts import PromptBook
from challenge.records import key_digest
from challenge.run_parts import RunParts
from challenge.spec import DatasetSpec

Owner = Mapping[str, str | int]


def prepared_file(folder: Path, kind: str, owner: Owner) -> Path:
    """The file of this kind ("embeddings" or "decoder") that belongs to ``owner``."""
    return folder / f"{kind}-{key_digest(owner)}.safetensors"


def embeddings_owner(generator: OneStepGenerator, dataset: str) -> dict[str, str | int]:
    """What stored embeddings belong to; which prompts they are of stands in the file."""
    description = generator.description
    weights = description.fingerprint or description.source
    return {"weights": weights, "dtype": description.dtype, "dataset": dataset}


def use_stored_embeddings(
    books: Mapping[DatasetSpec, PromptBook], generator: ImageGenerator, parts: RunParts
) -> None:
    """Give the generator the embeddings that are kept of these books' prompts."""
    if parts.prepared_dir is None or not isinstance(generator, OneStepGenerator):
        return
    for spec, book in books.items():
        owner = embeddings_owner(generator, spec.name)
        path = prepared_file(parts.prepared_dir, "embeddings", owner)
        if not path.exists():
            continue
        started_s = parts.clock()
        try:
            generator.embeddings.load(path, owner)
        except WeightsError as error:
            parts.emit(Notice(f"{error}: not used; run prepare again", "warning"))
            continue
        note_use(parts, path, parts.clock() - started_s)
        prompts = set(book.with_pool(1).all_prompts())  # how many more depends on what they cost
        lacking = sum(prompt not in generator.embeddings for prompt in prompts)
        if lacking:
            text = f"{path} lacks {lacking} of {len(prompts)} prompts: encoding them"
            parts.emit(Notice(f"{text}; run prepare again", "warning"))


def note_use(parts: RunParts, path: Path, seconds: float) -> None:
    """Put into run.json what was used, how old it is and what reading it took."""
    used = parts.notes.setdefault("prepared", [])
    assert isinstance(used, list)
    age_s = time.clock_gettime(time.CLOCK_REALTIME) - path.stat().st_mtime
    used.append({"path": str(path), "age_s": round(age_s, 1), "seconds": seconds})
