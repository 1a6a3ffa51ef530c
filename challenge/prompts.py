"""What the model is asked for: a prompt book for each data set, and a pool of prompts a class.

The pool is fixed: it depends on the book and on the preset, not on the run's seed, which only picks
the order. A longer pool begins with the shorter one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from challenge.class_names import class_order
from challenge.errors import PromptError
from challenge.prompt_file import PromptClass, read_book_file
from challenge.prompt_grammar import PHRASE, Composition, Grammar, Pool, class_seed
from challenge.prompt_rules import DEFAULT_PHRASE, Rules
from challenge.settings import GenerateSettings
from challenge.spec import DATASETS, DatasetName, DatasetSpec, LabelOrder

NOUN_SLOT = "{noun}"
PROMPTS_PER_CLASS = 200
_BOOK_FILES = " and ".join(f"{name}.json" for name in DATASETS)


@dataclass(frozen=True)
class PromptBook:
    """The classes of one data set in label order, and how their prompts are composed.

    ``sha256`` is that of the file's bytes.
    """

    dataset: DatasetName
    preset: str
    template: str
    per_class: int
    classes: tuple[PromptClass, ...]
    rules: tuple[Rules, ...]
    path: Path
    sha256: str
    _pools: dict[int, Pool] = field(default_factory=dict, compare=False, repr=False)

    def prompts_for(self, class_index: int) -> tuple[str, ...]:
        """The fixed pool of prompts of this class, at most ``per_class``."""
        return tuple(made.prompt for made in self.compositions(class_index))

    def compositions(self, class_index: int) -> Sequence[Composition]:
        """The pool with the choices that made each prompt; never empty.

        Raises:
            PromptError: everything that the class could be asked for is excluded.
        """
        if class_index not in self._pools:
            self._pools[class_index] = self._grammar(class_index).pool()
        pool = self._pools[class_index].first(self.per_class)
        if not pool:
            name = self.classes[class_index].name
            raise PromptError(
                f"{self.path}: class {class_index} ({name!r}) has no prompt left in preset "
                f"{self.preset!r}; take something out of 'exclude'"
            )
        return pool

    def all_prompts(self) -> tuple[str, ...]:
        """The pools of all classes, one after the other."""
        return tuple(prompt for each in self.classes for prompt in self.prompts_for(each.index))

    def with_pool(self, per_class: int) -> "PromptBook":
        """The same book with pools of another size; they begin alike."""
        return replace(self, per_class=per_class)

    def in_order(self, places: Sequence[int]) -> "PromptBook":
        """The same book with class ``places[i]`` as label i."""
        classes = tuple(replace(self.classes[p], index=label) for label, p in enumerate(places))
        rules = tuple(self.rules[place] for place in places)
        return replace(self, classes=classes, rules=rules, _pools={})

    @property
    def pool_sha256(self) -> str:
        """What all pools are told apart by, in records and journals: each prompt of each class."""
        digest = hashlib.sha256()
        for each in self.classes:
            digest.update("\n".join([each.identity, *self.prompts_for(each.index), ""]).encode())
        return digest.hexdigest()

    def _grammar(self, class_index: int) -> Grammar:
        each, rules = self.classes[class_index], self.rules[class_index]
        name = each.official_names[0]
        slots = {
            "name": ((name, 1.0),),
            "joined_name": ((name.replace(" ", ""), 1.0),),
            "noun": ((each.prompt_noun, 1.0),),
            **rules.slots,
        }
        slots.setdefault(PHRASE, slots[DEFAULT_PHRASE])
        seed = class_seed(self.dataset, each.identity)
        return Grammar(self.template, slots, rules.exclude, seed)


def planned_size(settings: GenerateSettings) -> int | None:
    """The size of the pools where it is part of the plan; None where it is to be measured."""
    if settings.prompts_per_class != "auto":
        return settings.prompts_per_class
    if settings.ipc != "auto":
        return min(settings.ipc, PROMPTS_PER_CLASS)
    if settings.distinct:
        return min(max(settings.distinct), PROMPTS_PER_CLASS)
    return None


def find_prompts_dir(given: Path | None) -> Path:
    """The folder of the prompt books: the given one, else the checkout's, else the wheel's copy.

    Raises:
        PromptError: there is no such folder.
    """
    if given is not None:
        if not given.is_dir():
            raise PromptError(
                f"--prompts-dir {given} is no folder; give one with {_BOOK_FILES} in it"
            )
        return given
    package = Path(__file__).resolve().parent
    for folder in (package.parent / "prompts", package / "prompt_books"):
        # known by its files: another package of the name may lie beside an installed one
        if all((folder / f"{dataset}.json").is_file() for dataset in DATASETS):
            return folder
    raise PromptError(
        f"{package}: no prompt books beside the program; "
        f"pass --prompts-dir with a folder of {_BOOK_FILES}"
    )


def load_prompt_book(
    spec: DatasetSpec,
    prompts_dir: Path,
    label_order: LabelOrder = "sorted",
    preset: str = "plain",
    per_class: int = PROMPTS_PER_CLASS,
) -> PromptBook:
    """Read and check the data set's book; ``classes[i]`` is label i under ``label_order``.

    Raises:
        PromptError: the file is missing, damaged, or not the book of this data set, or has no such
            preset.
    """
    path = prompts_dir / f"{spec.name}.json"
    data = _read_bytes(path)
    file = read_book_file(path, data, spec)
    if preset not in file.templates:
        raise PromptError(
            f"{path}: there is no prompt preset {preset!r}; its templates are "
            + ", ".join(file.templates)
        )
    book = PromptBook(
        dataset=spec.name,
        preset=preset,
        template=file.templates[preset],
        per_class=per_class,
        classes=file.classes,
        rules=file.rules,
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return book.in_order(class_order(spec.name, label_order))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PromptError(f"{path}: no such file; the prompt book must have this name") from None
    except OSError as error:
        raise PromptError(f"{path}: cannot be read ({error.strerror})") from error
