"""The rules in a prompt book: templates, slots of the data set, of a group and of a class.

A class's own slots go before its group's, and those before the data set's. ``mix`` is a class's
slot ``phrase``; ``shares`` sets the share of single texts in a slot, and what a text is worth in
the others shrinks with it.
"""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from challenge.errors import PromptError
from challenge.prompt_grammar import PHRASE, SLOT, Choices, with_shares

CLASS_RULES = ("group", "mix", "slots", "shares", "exclude")  # may be left out
GROUP_RULES = ("slots", "exclude")
NAMES = ("name", "joined_name", "noun")  # slots that every class has
REQUIRED_TEMPLATES = ("name-only", "plain", "diverse")
DEFAULT_PHRASE = "noun"  # of a class without a mix


@dataclass(frozen=True)
class Rules:
    """What a class's prompts are composed of, beside its names and the templates."""

    slots: dict[str, Choices]
    exclude: tuple[tuple[str, ...], ...]


def parse_rules(
    path: Path, title: str, book: Mapping[str, object], entry: Mapping[str, object]
) -> Rules:
    """The rules of one class, with those of its group and of the data set in them."""
    group = _group(path, title, book, entry)
    slots = _slots(path, "'slots' of the file", book.get("slots", {}))
    slots |= _slots(path, f"'slots' of group {entry.get('group')!r}", group.get("slots", {}))
    slots |= _slots(path, f"{title}: 'slots'", entry.get("slots", {}))
    if "mix" in entry:
        slots[PHRASE] = _choices(path, f"{title}: 'mix'", entry["mix"])
    shares = entry.get("shares", {})
    if not isinstance(shares, dict):
        raise _unexpected(path, f"{title}: 'shares'", shares, "an object of slots")
    for slot, texts in shares.items():
        slots[slot] = _shared(path, f"{title}: 'shares' of {slot!r}", slots.get(slot), texts)
    exclude = [
        parts
        for what, owner in (("the file", book), (title, group), (title, entry))
        for parts in _exclude(path, f"'exclude' of {what}", owner.get("exclude", []))
    ]
    return Rules(slots, tuple(exclude))


def _group(
    path: Path, title: str, book: Mapping[str, object], entry: Mapping[str, object]
) -> Mapping[str, object]:
    groups = book.get("groups", {})
    if not isinstance(groups, dict):
        raise _unexpected(path, "'groups'", groups, "an object of groups")
    name = entry.get("group")
    if name is None:
        return {}
    if not isinstance(name, str):
        raise _unexpected(path, f"{title}: 'group'", name, "the name of a group")
    if name not in groups:
        known = ", ".join(map(repr, groups)) or "none"
        raise PromptError(f"{path}: {title} is in group {name!r}; the groups are {known}")
    group = groups[name]
    if not isinstance(group, dict) or set(group) - set(GROUP_RULES):
        raise _unexpected(path, f"group {name!r}", group, "an object with slots, exclude")
    return group


def _slots(path: Path, what: str, value: object) -> dict[str, Choices]:
    if not isinstance(value, dict):
        raise _unexpected(path, what, value, "an object of lists")
    for name in value:
        if name in NAMES or not SLOT.fullmatch("{" + name + "}"):
            raise PromptError(f"{path}: {what} has {name!r}, which cannot be the name of a slot")
    return {name: _choices(path, f"{what}: {name!r}", listed) for name, listed in value.items()}


def _choices(path: Path, what: str, value: object) -> Choices:
    """A list of [text, weight], at least one weight above 0, no text twice."""
    if not isinstance(value, list) or not value:
        raise _unexpected(path, what, value, "a list of [text, weight]")
    choices = []
    for pair in value:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise _unexpected(path, what, pair, "[text, weight]")
        text, weight = pair
        choices.append((_text(path, what, text), _weight(path, what, text, weight)))
    texts = [text for text, _ in choices]
    if doubled := [text for text in texts if texts.count(text) > 1]:
        raise PromptError(f"{path}: {what} has {doubled[0]!r} twice; add the weights up")
    if not sum(weight for _, weight in choices):
        raise PromptError(f"{path}: {what} has no weight above 0")
    return tuple(choices)


def _text(path: Path, what: str, value: object) -> str:
    if not isinstance(value, str) or not (value.isprintable() or value == ""):
        raise _unexpected(path, what, value, "a text on one line")
    if set(value) & set("{}"):
        raise PromptError(f"{path}: {what} has {value!r}; braces belong into templates")
    return value


def _weight(path: Path, what: str, text: object, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        found = reprlib.repr(value)
        raise PromptError(
            f"{path}: {what}: the weight of {text!r} is {found}, expected 0 or more, below 1e9"
        )
    return float(value)


def _shared(path: Path, what: str, choices: Choices | None, value: object) -> Choices:
    if choices is None:
        raise PromptError(f"{path}: {what}: there is no such slot")
    if not isinstance(value, dict):
        raise _unexpected(path, what, value, "an object of texts and shares")
    shares = {
        _text(path, what, text): _weight(path, what, text, share) for text, share in value.items()
    }
    if sum(shares.values()) > 1:
        raise PromptError(f"{path}: {what} add up to {sum(shares.values()):g}, expected at most 1")
    return with_shares(choices, shares)


def _exclude(path: Path, what: str, value: object) -> list[tuple[str, ...]]:
    """Each a list of texts that must not stand in one prompt; upper and lower case alike."""
    if not isinstance(value, list):
        raise _unexpected(path, what, value, "a list of lists of texts")
    parsed = []
    for parts in value:
        if not (isinstance(parts, list) and parts and all(isinstance(p, str) and p for p in parts)):
            raise _unexpected(path, what, parts, "a list of texts")
        parsed.append(tuple(part.casefold() for part in parts))
    return parsed


def parse_templates(
    path: Path, value: object, rules: Sequence[Rules], titles: Sequence[str]
) -> dict[str, str]:
    """The templates by preset; every slot of each is one that every class has."""
    if not isinstance(value, dict) or any(name not in value for name in REQUIRED_TEMPLATES):
        expected = f"an object with {', '.join(REQUIRED_TEMPLATES)}"
        raise _unexpected(path, "'templates'", value, expected)
    for preset, template in value.items():
        what = f"template {preset!r}"
        if not isinstance(template, str) or not template.isprintable():
            raise _unexpected(path, what, template, "a text with slots")
        names = SLOT.findall(template)
        if not set(names) & {*NAMES, PHRASE}:
            raise PromptError(
                f"{path}: {what} is {template!r}, expected a text with one of "
                + ", ".join("{" + name + "}" for name in (*NAMES, PHRASE))
            )
        if set(SLOT.sub("", template)) & set("{}") or len(set(names)) < len(names):
            raise PromptError(f"{path}: {what} is {template!r}; each slot stands once, in braces")
        for each, title in zip(rules, titles, strict=True):
            known = {*each.slots, *NAMES, PHRASE}
            if missing := [name for name in names if name not in known]:
                raise PromptError(f"{path}: {what}: {title} has no slot {missing[0]!r}")
    return dict(value)


def _unexpected(path: Path, what: str, value: object, expected: str) -> PromptError:
    return PromptError(f"{path}: {what} is {reprlib.repr(value)}, expected {expected}")
