"""The ``prompts`` command: what a class will be asked for, and whether an edited book is right.

python run_challenge.py prompts --class ray
python run_challenge.py prompts --check --prompts-dir my-prompts
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from challenge.console import make_table, results, verdict_panel, write_document
from challenge.errors import PromptError, UsageError, WeightsError
from challenge.prompt_grammar import counted_shares
from challenge.prompts import PromptBook, find_prompts_dir, load_prompt_book
from challenge.records import SCHEMA_VERSION
from challenge.settings import PromptsSettings, selected_specs

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

SHOWN_PROMPTS = 12
SHOWN_TEXTS = 12  # of a slot
MOST_TOKENS = 77  # that CLIP's text encoders read, begin and end included


def prompts(settings: PromptsSettings) -> int:
    """Run the command; returns the exit code.

    Raises ``PromptError`` for a book that is not right, ``UsageError`` for a class that no book
    has.
    """
    books = _load(settings)
    if settings.check:
        return _check(settings, books)
    if settings.name is None:
        return _show_books(settings, books)
    found = [(book, place) for book in books for place in _places(book, settings.name)]
    if not found:
        raise UsageError(
            f"--class {settings.name}: no class has that name, index or wnid; without --class all "
            "are listed"
        )
    for book, place in found:
        _show_class(settings, book, place)
    if settings.json:
        write_document(_document([_class_entry(book, place) for book, place in found]))
    return 0


def _load(settings: PromptsSettings) -> list[PromptBook]:
    folder = find_prompts_dir(settings.prompts_dir)
    return [
        load_prompt_book(spec, folder, "sorted", settings.prompt_preset, settings.prompts_per_class)
        for spec in selected_specs(settings.dataset)
    ]


def _places(book: PromptBook, name: str) -> Iterator[int]:
    """The classes that go by ``name``: their name or a part of it between commas, wnid or index."""
    wanted = name.casefold().replace("_", " ")
    for each in book.classes:
        names = [part.casefold() for part in each.official_names]
        if wanted in (*names, each.wnid, str(each.index)):
            yield each.index


def _show_class(settings: PromptsSettings, book: PromptBook, place: int) -> None:
    """Pool and shares of one class."""
    if settings.json:
        return
    entry = _class_entry(book, place)
    pool = entry["prompts"]
    lines = [f"{book.path}, preset {book.preset}: {book.template}"]
    lines += [f"  {prompt}" for prompt in pool[:SHOWN_PROMPTS]]
    if len(pool) > SHOWN_PROMPTS:
        lines.append(f"  ... {len(pool) - SHOWN_PROMPTS} more (--json prints all)")
    rows = [
        (slot if number == 0 else "", text or "(nothing)", f"{share:.1%}")
        for slot, shares in entry["shares"].items()
        for number, (text, share) in enumerate(shares[:SHOWN_TEXTS])
    ]
    table = make_table(("slot", "text", "share of the pool"), rows, text_columns=(0, 1))
    title = f"{book.dataset} class {place} ({entry['name']}): {len(pool)} prompts"
    results().print(title, markup=False, highlight=False)
    for line in lines:
        results().print(line, markup=False, highlight=False)
    results().print(table)


def _class_entry(book: PromptBook, place: int) -> dict[str, Any]:
    pool = book.compositions(place)
    return {
        "dataset": book.dataset,
        "index": place,
        "name": book.classes[place].name,
        "preset": book.preset,
        "prompts": [made.prompt for made in pool],
        "shares": counted_shares(pool),
    }


def _show_books(settings: PromptsSettings, books: Sequence[PromptBook]) -> int:
    """The first prompt of every class, and how large its pool is."""
    rows = [
        (str(each.index), each.name, str(len(pool)), pool[0])
        for book in books
        for each in book.classes
        for pool in [book.prompts_for(each.index)]
    ]
    if settings.json:
        write_document(_document([_book_entry(book) for book in books]))
    else:
        results().print(
            make_table(("label", "class", "prompts", "the first one"), rows, text_columns=(1, 3))
        )
    return 0


def _book_entry(book: PromptBook) -> dict[str, Any]:
    pools = [len(book.prompts_for(each.index)) for each in book.classes]
    return {
        "dataset": book.dataset,
        "path": str(book.path),
        "preset": book.preset,
        "classes": len(book.classes),
        "smallest_pool": min(pools),
        "largest_pool": max(pools),
        "pool_sha256": book.pool_sha256,
    }


def _check(settings: PromptsSettings, books: Sequence[PromptBook]) -> int:
    """Compose every pool of every preset; names the first fault, or says that all is right."""
    lines, warnings = [], []
    tokenizer = _tokenizer(settings.model)
    if tokenizer is None:
        warnings.append(
            f"token counts were not checked: no tokenizer of {settings.model} on this machine"
        )
    for book in books:
        _require_distinct(book)
        longest = _require_short(book, tokenizer) if tokenizer is not None else None
        entry = _book_entry(book)
        size = f"{entry['smallest_pool']} to {entry['largest_pool']} prompts a class"
        tokens = "" if longest is None else f", at most {longest} of {MOST_TOKENS} tokens"
        lines.append(f"{book.path}: {entry['classes']} classes, {size} ({book.preset}){tokens}")
    if settings.json:
        document = _document([_book_entry(book) for book in books])
        write_document({**document, "verdict": "VALID", "warnings": warnings})
    else:
        notes = [f"warning: {warning}" for warning in warnings]
        results().print(verdict_panel("VALID", [*notes, *lines]))
    return 0


def _require_distinct(book: PromptBook) -> None:
    """Refuse a prompt that two classes share: its images would stand under two labels."""
    counts = Counter(prompt.casefold() for prompt in book.all_prompts())
    for each in book.classes:
        for prompt in book.prompts_for(each.index):
            if counts[prompt.casefold()] > 1:
                raise PromptError(
                    f"{book.path}: class {each.index} ({each.name!r}) shares the prompt {prompt!r} "
                    "with another class; say what sets them apart"
                )


def _require_short(book: PromptBook, tokenizer: "CLIPTokenizer") -> int:
    """The tokens of the longest prompt; ``PromptError`` for one that would be cut."""
    longest = 0
    for each in book.classes:
        pool = list(book.prompts_for(each.index))
        for prompt, ids in zip(pool, tokenizer(pool, verbose=False).input_ids, strict=True):
            longest = max(longest, len(ids))
            if len(ids) > MOST_TOKENS:
                raise PromptError(
                    f"{book.path}: class {each.index} ({each.name!r}): a prompt has {len(ids)} "
                    f"tokens and the model reads {MOST_TOKENS}; shorten it: {prompt!r}"
                )
    return longest


def _tokenizer(model: str) -> "CLIPTokenizer | None":
    """CLIP's tokenizer from the model on this machine; None where there is none."""
    from challenge.generators.weights import find_weights

    if model == "tiny":
        from challenge.generators.tiny import tiny_tokenizer

        return tiny_tokenizer()
    try:
        folder = find_weights(model).config_dir / "tokenizer"
    except WeightsError:
        return None
    from transformers import CLIPTokenizer

    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizer


def _document(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "books": entries}
