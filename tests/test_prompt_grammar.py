"""Pools: weighted, distinct, the same every time, and a longer one begins with the shorter one."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from challenge.prompt_grammar import (
    Choices,
    Grammar,
    class_seed,
    counted_shares,
    with_shares,
)

STYLES: Choices = (("a photo of", 3), ("a sketch of", 1), ("never", 0))
PLACES: Choices = tuple((f" at place {number}", 1.0) for number in range(50))


def grammar(
    phrases: Choices = (("cat", 1),), template: str = "{style} {phrase}{place}", seed: int = 1
) -> Grammar:
    return Grammar(template, {"style": STYLES, "phrase": phrases, "place": PLACES}, (), seed)


def test_begins_with_the_likeliest_choices() -> None:
    rules = grammar((("cat", 1), ("dog", 2)))
    assert rules.compose(1)[0].prompt == "a photo of dog at place 0"


def test_all_prompts_there_are_come_once_and_then_no_more() -> None:
    few = Grammar("{style} {phrase}", {"style": STYLES, "phrase": (("cat", 1),)}, (), 1)
    assert [made.prompt for made in few.compose(10)] == ["a photo of cat", "a sketch of cat"]


def test_a_weight_of_zero_is_never_drawn() -> None:
    assert not any("never" in made.prompt for made in grammar().compose(90))


@settings(max_examples=40)
@given(
    weights=st.lists(st.floats(0.01, 1), min_size=1, max_size=6),
    count=st.integers(1, 60),
    seed=st.integers(0, 2**40),
)
def test_phrases_come_in_their_shares_to_within_one_prompt(
    weights: list[float], count: int, seed: int
) -> None:
    phrases = tuple((f"phrase{number}x", weight) for number, weight in enumerate(weights))
    pool = grammar(phrases, seed=seed).compose(count)
    counts = Counter(dict(made.picks)["phrase"] for made in pool)
    for text, weight in phrases:
        assert counts[text] <= weight / sum(weights) * count + 1 + 1e-6
    assert len({made.prompt for made in pool}) == count


def test_other_slots_come_about_as_often_as_they_weigh() -> None:
    shares = dict(counted_shares(grammar().compose(60))["style"])
    assert 0.5 < shares["a photo of"] < 0.9


def test_a_longer_pool_begins_with_the_shorter_one() -> None:
    rules = grammar((("cat", 2), ("dog", 1)))
    assert rules.compose(40)[:15] == rules.compose(15)


def test_another_seed_gives_another_order() -> None:
    assert grammar(seed=1).compose(20) != grammar(seed=2).compose(20)
    assert class_seed("cifar100", "ray") != class_seed("cifar100", "seal")


def test_excluded_combinations_are_not_made() -> None:
    exclude = (("sketch", "place 7"), ("PLACE 3".casefold(),))
    rules = Grammar(
        "{style} {phrase}{place}",
        {"style": STYLES, "phrase": (("cat", 1),), "place": PLACES},
        exclude,
        1,
    )
    prompts = [made.prompt for made in rules.compose(100)]
    assert "a photo of cat at place 7" in prompts
    assert "a sketch of cat at place 7" not in prompts
    assert not any("place 3" in prompt for prompt in prompts)


def test_a_book_that_excludes_everything_has_no_prompt() -> None:
    assert Grammar("{noun}", {"noun": (("cat", 1),)}, (("cat",),), 1).compose(5) == []


def test_texts_are_joined_without_double_blanks() -> None:
    rules = Grammar("{style} {phrase}", {"style": (("", 1),), "phrase": (("cat", 1),)}, (), 1)
    assert rules.compose(1)[0].prompt == "cat"


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_leaves_the_rest_to_the_others_in_their_proportion(share: float) -> None:
    choices = dict(with_shares((("a", 3), ("b", 1), ("c", 9)), {"c": share}))
    assert choices["c"] == share
    assert choices["a"] == pytest.approx(0.75 * (1 - share))
    assert choices["b"] == pytest.approx(0.25 * (1 - share))
