"""Templates, slots, groups and shares of a prompt book: which goes first, what is refused."""

from pathlib import Path
from typing import Any

import pytest
from prompt_books import Entry, refusal, templates, write_book

from challenge.prompts import load_prompt_book
from challenge.spec import CIFAR100

GROUPS = {"sea": {"slots": {"place": [[" in the sea", 1]]}, "exclude": [["ray", "far"]]}}
SLOTS = {"style": [["a photo of", 1]], "place": [[" somewhere", 1]], "far": [["", 1], [" far", 1]]}


def write(folder: Path, **entry: Any) -> None:
    """A small book whose classes have no rules but ``entry``, of class 67 (ray)."""

    def bare(classes: list[Entry]) -> None:
        for each in classes:
            for key in ("group", "mix", "slots", "shares", "exclude"):
                each.pop(key, None)
        classes[67].update(entry)

    diverse = "{style} {phrase}{place}{far}"
    rules = {"groups": GROUPS, "slots": SLOTS, "exclude": []}
    write_book(folder, CIFAR100, bare, templates=templates(diverse=diverse), **rules)


def pool(folder: Path, class_index: int = 67) -> set[str]:
    return set(load_prompt_book(CIFAR100, folder, preset="diverse").prompts_for(class_index))


def test_a_class_without_rules_has_the_slots_of_the_file_and_its_noun(tmp_path: Path) -> None:
    write(tmp_path)
    assert pool(tmp_path) == {
        "a photo of stingray fish somewhere",
        "a photo of stingray fish somewhere far",
    }


def test_a_group_goes_before_the_file_and_its_exclusions_hold(tmp_path: Path) -> None:
    write(tmp_path, group="sea")
    assert pool(tmp_path) == {"a photo of stingray fish in the sea"}


def test_a_class_goes_before_its_group(tmp_path: Path) -> None:
    write(tmp_path, group="sea", slots={"place": [[" in a tank", 1]]})
    assert pool(tmp_path) == {"a photo of stingray fish in a tank"}


def test_a_mix_is_put_for_the_phrase(tmp_path: Path) -> None:
    write(tmp_path, mix=[["manta", 0.5], ["guitarfish", 0.5]], exclude=[["far"]])
    assert pool(tmp_path) == {"a photo of manta somewhere", "a photo of guitarfish somewhere"}


def test_a_share_adds_a_text_to_a_slot(tmp_path: Path) -> None:
    write(tmp_path, shares={"place": {" on white": 1.0}}, exclude=[["far"]])
    assert pool(tmp_path) == {"a photo of stingray fish on white"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"group": "land"}, "class 67 ('ray') is in group 'land'; the groups are 'sea'"),
        ({"group": ["sea"]}, "class 67 ('ray'): 'group' is ['sea'], expected the name of a group"),
        ({"mix": [["manta", 1e9]]}, "class 67 ('ray'): 'mix': the weight of 'manta' is 1000000000"),
        ({"slots": []}, "class 67 ('ray'): 'slots' is [], expected an object of lists"),
        ({"slots": {"noun": [["x", 1]]}}, "class 67 ('ray'): 'slots' has 'noun', which cannot be"),
        ({"slots": {"a b": [["x", 1]]}}, "class 67 ('ray'): 'slots' has 'a b', which cannot be"),
        ({"mix": []}, "class 67 ('ray'): 'mix' is [], expected a list of [text, weight]"),
        ({"mix": [["manta"]]}, "class 67 ('ray'): 'mix' is ['manta'], expected [text, weight]"),
        ({"mix": [["manta", -1]]}, "class 67 ('ray'): 'mix': the weight of 'manta' is -1, expec"),
        ({"mix": [["manta", True]]}, "class 67 ('ray'): 'mix': the weight of 'manta' is True, ex"),
        ({"mix": [["manta", 0]]}, "class 67 ('ray'): 'mix' has no weight above 0"),
        ({"mix": [["m", 1], ["m", 2]]}, "class 67 ('ray'): 'mix' has 'm' twice; add the weights"),
        ({"mix": [["{noun}", 1]]}, "class 67 ('ray'): 'mix' has '{noun}'; braces belong into tem"),
        ({"mix": [["a\nb", 1]]}, "class 67 ('ray'): 'mix' is 'a\\nb', expected a text on one line"),
        ({"shares": {"mood": {"x": 1}}}, "class 67 ('ray'): 'shares' of 'mood': there is no such"),
        ({"shares": {"place": {"x": 2}}}, "class 67 ('ray'): 'shares' of 'place' add up to 2, exp"),
        ({"exclude": ["far"]}, "'exclude' of class 67 ('ray') is 'far', expected a list of texts"),
    ],
)
def test_refuses_wrong_rules_of_a_class(tmp_path: Path, entry: Entry, message: str) -> None:
    write(tmp_path, **entry)
    assert refusal(tmp_path).startswith(message)


@pytest.mark.parametrize("template", ["a photo", "{noun} and {noun}", "{noun} {", 7, "x\n{noun}"])
def test_refuses_a_template_without_a_name_or_with_stray_braces(
    tmp_path: Path, template: Any
) -> None:
    write_book(tmp_path, CIFAR100, templates=templates(plain=template))
    assert refusal(tmp_path).startswith(f"template 'plain' is {template!r}")


def test_refuses_a_template_with_a_slot_that_a_class_lacks(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, templates=templates(plain="{noun} {mood}"))
    assert refusal(tmp_path) == "template 'plain': class 0 ('apple') has no slot 'mood'"


def test_refuses_a_book_without_the_three_presets(tmp_path: Path) -> None:
    write_book(tmp_path, CIFAR100, templates={"plain": "{noun}"})
    assert refusal(tmp_path).endswith("expected an object with name-only, plain, diverse")
