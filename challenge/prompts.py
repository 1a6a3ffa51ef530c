"""What the model is asked for: a prompt book for each data set, read from ``prompts/*.json``.

People edit these files (``prompts/README.md`` says how), so everything is checked when they are
read, and a fault is told with the file, the class and the value. The worst fault is a silent one:
a class at the wrong place gives all its images a wrong label. So names and order are compared with
the official ones.
"""

import hashlib
import json
import reprlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from challenge.class_names import OFFICIAL_CLASSES, OfficialClass, class_order
from challenge.errors import PromptError
from challenge.spec import DATASETS, DatasetName, DatasetSpec, LabelOrder

NOUN_SLOT = "{noun}"
BOOK_KEYS = ("dataset", "template", "classes")
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


@dataclass(frozen=True)
class PromptBook:
    """The classes of one data set in label order; ``sha256`` is that of the file's bytes."""

    dataset: DatasetName
    template: str
    classes: tuple[PromptClass, ...]
    path: Path
    sha256: str

    def prompts_for(self, class_index: int) -> tuple[str, ...]:
        """The fixed pool of prompts of this class: the template filled with its noun."""
        return (self.template.replace(NOUN_SLOT, self.classes[class_index].prompt_noun),)

    def all_prompts(self) -> tuple[str, ...]:
        """The pools of all classes, one after the other."""
        return tuple(prompt for each in self.classes for prompt in self.prompts_for(each.index))


def find_prompts_dir(given: Path | None) -> Path:
    """The folder of the prompt books: the given one, else the checkout's, else the wheel's copy.

    Raises:
        PromptError: there is no such folder.
    """
    if given is not None:
        if not given.is_dir():
            raise PromptError(f"--prompts-dir {given}: no such folder")
        return given
    package = Path(__file__).resolve().parent
    for folder in (package.parent / "prompts", package / "prompt_books"):
        # known by its files: another package of the name may lie beside an installed one
        if all((folder / f"{dataset}.json").is_file() for dataset in DATASETS):
            return folder
    raise PromptError(
        f"{package}: no prompt books beside the program; "
        f"pass --prompts-dir with a folder of {' and '.join(f'{name}.json' for name in DATASETS)}"
    )


def load_prompt_book(
    spec: DatasetSpec, prompts_dir: Path, label_order: LabelOrder = "sorted"
) -> PromptBook:
    """Read and check the data set's book; ``classes[i]`` is label i under ``label_order``.

    Raises:
        PromptError: the file is missing, damaged, or not the book of this data set.
    """
    path = prompts_dir / f"{spec.name}.json"
    data = _read_bytes(path)
    book = _parse_object(path, "the file", _parse_json(path, data), BOOK_KEYS)
    if book["dataset"] != spec.name:
        raise PromptError(
            f"{path}: 'dataset' is {book['dataset']!r}, expected {spec.name!r}; "
            "each data set has a file of its own"
        )
    template = _parse_template(path, book["template"])
    classes = _parse_classes(path, spec, book["classes"])
    return PromptBook(
        dataset=spec.name,
        template=template,
        classes=tuple(
            replace(classes[place], index=label)
            for label, place in enumerate(class_order(spec.name, label_order))
        ),
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PromptError(f"{path}: no such file; the prompt book must have this name") from None
    except OSError as error:
        raise PromptError(f"{path}: cannot be read ({error.strerror})") from error


def _parse_json(path: Path, data: bytes) -> object:
    """Any JSON value, but no object with a key twice: json would keep the last and say nothing."""

    def refuse_doubled_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                raise PromptError(f"{path}: key {key!r} stands {count} times in one object")
        return dict(pairs)

    try:
        parsed: object = json.loads(data, object_pairs_hook=refuse_doubled_keys)
    except ValueError as error:  # also bytes that are no text
        raise PromptError(f"{path}: not JSON ({error})") from error
    return parsed


def _parse_object(path: Path, what: str, value: object, keys: Sequence[str]) -> dict[str, object]:
    """``value`` as an object with exactly these keys."""
    if not isinstance(value, dict):
        found = reprlib.repr(value)
        raise PromptError(f"{path}: {what} is {found}, expected an object with {', '.join(keys)}")
    faults = [f"has no key {key!r}" for key in keys if key not in value]
    faults += [f"has the unknown key {key!r}" for key in value if key not in keys]
    if faults:
        raise PromptError(f"{path}: {what} {faults[0]}; its keys are {', '.join(keys)}")
    return value


def _parse_template(path: Path, value: object) -> str:
    """A text with ``{noun}`` once and no other brace, which would be a misspelt slot."""
    if not isinstance(value, str) or value.count(NOUN_SLOT) != 1:
        raise PromptError(f"{path}: 'template' is {value!r}, expected a text with {NOUN_SLOT} once")
    if set(value.replace(NOUN_SLOT, "")) & set("{}"):
        raise PromptError(f"{path}: 'template' is {value!r}; no other braces than {NOUN_SLOT}")
    return value


def _parse_classes(path: Path, spec: DatasetSpec, value: object) -> tuple[PromptClass, ...]:
    """All classes in the order of the file, which must be the sorted label order."""
    if not isinstance(value, list):
        raise PromptError(f"{path}: 'classes' is {reprlib.repr(value)}, expected a list of objects")
    keys = CLASS_KEYS[spec.name]
    entries = [_parse_object(path, f"class {i}", entry, keys) for i, entry in enumerate(value)]
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
                "it is a fact of the data set, change 'prompt_noun' only"
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
