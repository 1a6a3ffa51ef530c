import random

from challenge.embedded_training.wording import all_texts, names_of, random_prompt
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.spec import DATASETS

BOOKS = [load_prompt_book(spec, find_prompts_dir(None)) for spec in DATASETS.values()]


def test_every_prompt_holds_a_name_of_its_class() -> None:
    rng = random.Random(0)
    for book in BOOKS:
        for names in names_of(book):
            prompt, name = random_prompt(names, rng)
            assert name in names
            assert name in prompt


def test_a_class_goes_by_its_noun_and_its_official_names_once_each() -> None:
    cifar100, tinyimagenet = (names_of(book) for book in BOOKS)
    assert cifar100[0] == ["apple fruit", "apple"]
    assert cifar100[1] == ["aquarium fish"]  # aquarium_fish
    assert tinyimagenet[0] == ["goldfish", "Carassius auratus"]


def test_prompts_of_a_class_differ() -> None:
    rng = random.Random(0)
    assert len({random_prompt(["apple"], rng) for _ in range(200)}) > 120


def test_the_vocabularys_texts_hold_every_name_in_every_style() -> None:
    texts = all_texts(BOOKS)
    assert "a photo of apple fruit" in texts
    assert "a black and white photo of a goldfish" in texts
    assert texts == sorted(set(texts))
