import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from small_training import small_books, small_data

from challenge.embedded_training.feature_network import Features
from challenge.embedded_training.looks import LOOKS, asked_looks
from challenge.embedded_training.real_features import RealFeatures
from challenge.embedded_training.topics import (
    FEWEST_IMAGES,
    TOPIC_PROMPTS,
    WHOLE_PROMPTS,
    ClassTopics,
    Topic,
    class_topics,
    nearest_phrase,
)
from challenge.embedded_training.wording import phrases_of
from challenge.prompts import PromptBook

IMAGES = 40
APPLE = 0


def topics_of(terms: Sequence[str], images: torch.Tensor | None = None) -> ClassTopics:
    """Those of the class apple, of images of mid grey and red unless given."""
    real = small_data()[0]
    if images is None:
        images = torch.tensor([150, 110, 120], dtype=torch.uint8)[:, None, None].expand(
            IMAGES, 3, 32, 32
        )
    train = images[None].expand(3, -1, -1, -1, -1)
    real = replace(real, train=train, search_terms=[list(terms)] * 3)
    return class_topics(real, small_books()[0], seed=0)[APPLE]


def test_images_go_to_the_phrase_that_they_were_found_by() -> None:
    topics = topics_of(["granny"] * 4 + ["golden delicious"] * 18 + ["red delicious"] * 18)
    golden, red = topics.parts
    assert golden.images.tolist() == list(range(4, 22))
    assert red.images.tolist() == list(range(22, 40))
    assert all("golden delicious apple" in prompt for prompt in golden.prompts)
    assert len(topics.whole.images) == IMAGES


def test_few_images_are_no_topic() -> None:
    few = FEWEST_IMAGES - 1
    assert topics_of(["golden delicious"] * few + [""] * (IMAGES - few)).parts == ()


def test_images_of_a_look_go_to_the_prompts_that_ask_for_it() -> None:
    images = torch.full((IMAGES, 3, 32, 32), 250, dtype=torch.uint8)
    images[:, 0, 8:24, 8:24] = 0
    images[:20] = torch.tensor([200, 150, 90], dtype=torch.uint8)[:, None, None]
    parts = topics_of([""] * IMAGES, images).parts
    by_look = {tuple(part.images.tolist()): part for part in parts}
    assert by_look.keys() == {tuple(range(20)), tuple(range(20, 40))}
    for images_of, look in ((range(20), "warm"), (range(20, 40), "light")):
        prompts = by_look[tuple(images_of)].prompts
        assert all(bool(asked_looks(prompt)[list(LOOKS).index(look)]) for prompt in prompts)


def test_prompts_of_the_whole_class_and_of_phrases_ask_for_no_look() -> None:
    topics = topics_of(["golden delicious"] * IMAGES)
    assert topics.whole.prompts[0] == "a photo of apple fruit"
    for topic in (topics.whole, *topics.parts):
        for prompt in topic.prompts:
            without_phrase = re.sub("|".join(phrases_of(small_books()[0], APPLE)), "", prompt)
            assert not asked_looks(without_phrase).any()


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("bear", "bear cub"),
        ("Bear animal", "bear animal"),
        ("sea bear", "sea bear"),
        ("long haired bear", "long-haired bear"),
        ("cub", "bear cub"),
        ("ursus", None),
        ("", None),
    ],
)
def test_a_search_term_belongs_to_a_phrase_that_begins_with_it_then_to_the_shortest(
    term: str, expected: str | None
) -> None:
    phrases = ["minibear", "sea bear", "bear cub", "bear animal", "long-haired bear"]
    assert nearest_phrase(term, phrases) == expected


def test_prompts_of_phrases_that_no_image_is_known_to_show_go_to_the_whole_class() -> None:
    topics = topics_of(["golden delicious"] * IMAGES)
    others = topics.whole.prompts[WHOLE_PROMPTS:]
    assert len(others) == TOPIC_PROMPTS
    assert not any("golden delicious" in prompt for prompt in others)
    assert any("northern spy apple" in prompt for prompt in others)


def test_half_of_the_draws_are_of_the_whole_class_and_the_others_by_images() -> None:
    whole, large, small = (Topic(0, torch.arange(count), ("",)) for count in (40, 30, 10))
    topics = ClassTopics(whole, (large, small))
    rng = torch.Generator().manual_seed(0)
    drawn = Counter(len(topics.draw(rng).images) for _ in range(2000))
    assert 900 < drawn[40] < 1100
    assert 2.4 < drawn[30] / drawn[10] < 3.8
    assert ClassTopics(whole, ()).draw(rng) is whole


def test_real_images_are_drawn_from_the_topic_alone_mirrored_or_not() -> None:
    number = torch.arange(2 * 20).expand(3, -1)[..., None, None].float()  # 20, then their mirrors
    real = RealFeatures(Features(number, number, number))
    topics = [Topic(2, torch.tensor([3, 5]), ("",)), Topic(0, torch.tensor([7]), ("",))]
    drawn = real.draw(topics, 60, torch.Generator().manual_seed(0)).last.flatten().tolist()
    assert set(drawn[:60]) == {3, 5, 23, 25}
    assert set(drawn[60:]) == {7, 27}


@pytest.mark.parametrize("book", small_books(), ids=lambda book: book.dataset)
def test_a_class_without_a_mix_is_made_of_its_noun(book: PromptBook) -> None:
    bare = replace(book, rules=tuple(replace(each, slots={}) for each in book.rules))
    assert phrases_of(bare, 1) == [book.classes[1].prompt_noun]
    assert len(phrases_of(book, 0)) >= 1
