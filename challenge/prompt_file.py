"""Reads a prompt book's file and checks it, with the file, the class and the value in the message.

People edit these files (``prompts/README.md`` says how). The worst fault is a silent one: a class
at the wrong place gives all its images a wrong label. So names and order are compared with the
official ones, and no key is passed over.
"""

import json
import reprlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from challenge.class_names import OFFICIAL_CLASSES, OfficialClass
from challenge.errors import PromptError
from challenge.prompt_rules import CLASS_RULES, Rules, parse_rules, parse_templates
from challenge.spec import DatasetName, DatasetSpec

BOOK_KEYS = ("dataset", "templates", "classes")
BOOK_RULES = ("sources", "slots", "groups", "exclude")  # may be left out
CLASS_KEYS: dict[DatasetName, tuple[str, ...]] = {
    # the first says which class it is
    "cifar100": ("name", "index", "prompt_noun"),
    "tinyimagenet": ("wnid", "name", "wnids_txt_index", "index", "prompt_noun"),
}


@dataclass(frozen=True)
class PromptClass:
    """One class; ``index`` is its label in the order in which the book was loaded."""

    index: int
    name: str
    wnid: str | None
    wnids_txt_index: int | None
    prompt_noun: str

    @property
    def identity(self) -> str:
        """What the class is told from others by, whatever the order."""
        return self.wnid or self.name

    @property
    def official_names(self) -> tuple[str, ...]:
        """The official name, with blanks, and the other names that follow it after commas."""
        return tuple(part.strip().replace("_", " ") for part in self.name.split(","))


@dataclass(frozen=True)
class BookFile:
    """What a file says, in its own order, which is the sorted label order."""

    templates: dict[str, str]
    classes: tuple[PromptClass, ...]
    rules: tuple[Rules, ...]  # of each class


def read_book_file(path: Path, data: bytes, spec: DatasetSpec) -> BookFile:
    """Check everything that a file says.

    Raises:
        PromptError: it is not the book of this data set, or something in it is wrong.
    """
    book = parse_object(path, "the file", _parse_json(path, data), BOOK_KEYS, BOOK_RULES)
    if book["dataset"] != spec.name:
        raise PromptError(
            f"{path}: 'dataset' is {book['dataset']!r}, expected {spec.name!r}; "
            "each data set has a file of its own"
        )
    if not isinstance(book["classes"], list):
        found = reprlib.repr(book["classes"])
        raise PromptError(f"{path}: 'classes' is {found}, expected a list of objects")
    entries = [
        parse_object(path, f"class {place}", entry, CLASS_KEYS[spec.name], CLASS_RULES)
        for place, entry in enumerate(book["classes"])
    ]
    classes = _parse_classes(path, spec, entries)
    titles = [f"class {each.index} ({each.name!r})" for each in classes]
    rules = tuple(
        parse_rules(path, title, book, entry) for title, entry in zip(titles, entries, strict=True)
    )
    templates = parse_templates(path, book["templates"], rules, titles)
    return BookFile(templates, classes, rules)


def _parse_json(path: Path, data: bytes) -> object:
    """Any JSON value, but no object with a key twice: json would keep the last and say nothing."""

    def refuse_doubled_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                raise PromptError(f"{path}: key {key!r} stands {count} times in one object")
        return dict(pairs)

    try:
        parsed: object = json.loads(data, object_pairs_hook=refuse_doubled_keys)
    except (ValueError, RecursionError) as error:  # also bytes that are no text
        raise PromptError(f"{path}: not JSON ({error}); mend it there") from error
    return parsed


def parse_object(
    path: Path, what: str, value: object, keys: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, object]:
    """``value`` as an object with exactly these keys, and perhaps some of the optional ones."""
    if not isinstance(value, dict):
        found = reprlib.repr(value)
        raise PromptError(f"{path}: {what} is {found}, expected an object with {', '.join(keys)}")
    faults = [f"has no key {key!r}" for key in keys if key not in value]
    known = (*keys, *optional)
    faults += [f"has the unknown key {key!r}" for key in value if key not in known]
    if faults:
        raise PromptError(f"{path}: {what} {faults[0]}; its keys are {', '.join(known)}")
    return value


def _parse_classes(
    path: Path, spec: DatasetSpec, entries: Sequence[dict[str, object]]
) -> tuple[PromptClass, ...]:
    """All classes in the order of the file, which must be the sorted label order."""
    _require_each_class_once(path, spec, entries)
    classes = tuple(
        _parse_class(path, spec, index, entry, official)
        for (index, entry), official in zip(
            enumerate(entries), OFFICIAL_CLASSES[spec.name], strict=True
        )
    )
    _require_different_nouns(path, classes)
    return classes


def _require_each_class_once(
    path: Path, spec: DatasetSpec, entries: Sequence[dict[str, object]]
) -> None:
    """Name the missing and the surplus classes; an error at the first wrong place would not."""
    if len(entries) == spec.num_classes:
        return
    found = Counter(str(entry["name"]) for entry in entries)
    expected = Counter(official.name for official in OFFICIAL_CLASSES[spec.name])
    faults = [f"{name!r} is missing" for name in expected - found]
    faults += [
        f"{name!r} stands {found[name]} times" if name in expected else f"{name!r} is none of them"
        for name in found - expected
    ]
    raise PromptError(
        f"{path}: {len(entries)} classes, {spec.title} has {spec.num_classes}: "
        + ", ".join(faults[:3])
        + (f" and {len(faults) - 3} more faults" if len(faults) > 3 else "")
    )


def _parse_class(
    path: Path, spec: DatasetSpec, index: int, entry: dict[str, object], official: OfficialClass
) -> PromptClass:
    """The entry at this place, if it is the official class of this place."""
    facts = {**asdict(official), "index": index}
    identity, *others = (key for key in CLASS_KEYS[spec.name] if key in facts)
    if entry[identity] != facts[identity]:
        source = "torchvision's" if spec.name == "cifar100" else "the sorted wnids'"
        raise PromptError(
            f"{path}: class {index} is {entry[identity]!r}, {source} class {index} is "
            f"{facts[identity]!r}; keep the file in class-index order"
        )
    for key in others:
        if type(entry[key]) is not type(facts[key]) or entry[key] != facts[key]:
            raise PromptError(
                f"{path}: class {index} has {key!r} {entry[key]!r}, expected {facts[key]!r}; "
                "it is a fact of the data set, change 'prompt_noun' and the rules only"
            )
    noun = _parse_noun(path, index, official, entry["prompt_noun"])
    return PromptClass(index, official.name, official.wnid, official.wnids_txt_index, noun)


def _parse_noun(path: Path, index: int, official: OfficialClass, value: object) -> str:
    """One line of text, not empty, without blanks at its ends."""
    if not (isinstance(value, str) and value and value.isprintable() and value == value.strip()):
        raise PromptError(
            f"{path}: class {index} ({official.name!r}) has 'prompt_noun' {value!r}, expected "
            "a few words on one line, no blanks at the ends"
        )
    return value


def _require_different_nouns(path: Path, classes: Sequence[PromptClass]) -> None:
    """Two classes with the same noun would get the same images under two labels."""
    first_with: dict[str, PromptClass] = {}
    for each in classes:
        other = first_with.setdefault(" ".join(each.prompt_noun.casefold().split()), each)
        if other is not each:
            raise PromptError(
                f"{path}: class {each.index} ({each.name!r}) has the same 'prompt_noun' as class "
                f"{other.index} ({other.name!r}): {each.prompt_noun!r}; say what sets them apart"
            )
