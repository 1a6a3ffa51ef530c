"""How many prompts of each class a run can afford to encode, and encoding them.

With ``--prompts-per-class`` or ``--ipc N`` the size of the pools is part of the plan, so that the
same plan gives the same file. Otherwise the first prompt of every class is encoded, then the second
of every class, and so on, while two per cent of the limit suffice; those that ``prepare`` has kept
cost nothing. A resumed run takes the size of the first one.
"""

from collections.abc import Mapping

from challenge.events import Notice
from challenge.generators.base import ImageGenerator
from challenge.prompts import PROMPTS_PER_CLASS, PromptBook, planned_size
from challenge.run_parts import RunParts
from challenge.settings import GenerateSettings
from challenge.spec import DatasetSpec

ENCODE_SHARE = 0.02  # of the limit

Books = Mapping[DatasetSpec, PromptBook]


def encode_pools(
    settings: GenerateSettings, books: Books, generator: ImageGenerator, parts: RunParts
) -> dict[DatasetSpec, PromptBook]:
    """Encode the pools of all classes; the books with pools of the size that was fixed."""
    size = parts.state.prompts_per_class or planned_size(settings)
    if size is None:
        size = _encode_affordable(settings, books, generator, parts)
    parts.state.prompts_per_class = size
    pooled = {spec: book.with_pool(size) for spec, book in books.items()}
    prompts = [prompt for book in pooled.values() for prompt in book.all_prompts()]
    generator.encode_prompts(prompts)
    classes = sum(len(book.classes) for book in pooled.values())
    parts.emit(Notice(f"{len(prompts):,} prompts of {classes} classes ({_preset(books)})"))
    return pooled


def _encode_affordable(
    settings: GenerateSettings, books: Books, generator: ImageGenerator, parts: RunParts
) -> int:
    """Encode one prompt more of every class while another round fits; what is stored is free."""
    size, round_s, end_s = 0, 0.0, 0.0
    while size < PROMPTS_PER_CLASS and (size == 0 or parts.clock() + round_s <= end_s):
        size += 1
        longer = [book.with_pool(size) for book in books.values()]
        prompts = [
            pool[-1]
            for book in longer
            for pool in (book.prompts_for(each.index) for each in book.classes)
            if len(pool) == size
        ]
        if not prompts:
            return size - 1
        started_s = parts.clock()
        generator.encode_prompts(prompts)
        round_s = parts.clock() - started_s
        if size == 1:  # it must be, so it does not count
            end_s = parts.clock() + ENCODE_SHARE * settings.limit_s
    return size


def _preset(books: Books) -> str:
    return ", ".join(dict.fromkeys(f"preset {book.preset}" for book in books.values()))
