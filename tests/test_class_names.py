"""The official class names, against hand-picked facts and, where it is there, the real data."""

import os
import pickle
from pathlib import Path

import pytest

from challenge.class_names import OFFICIAL_CLASSES, class_order

DATA = os.environ.get("CHALLENGE_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="CHALLENGE_DATA names no folder")


@pytest.fixture
def data_dir() -> Path:
    return Path(DATA or "")


def test_cifar100_has_100_names_in_alphabetical_order() -> None:
    names = [each.name for each in OFFICIAL_CLASSES["cifar100"]]
    assert len(set(names)) == len(names) == 100
    assert names == sorted(names)
    assert (names[0], names[20], names[99]) == ("apple", "chair", "worm")


def test_tinyimagenet_has_200_classes_in_the_order_of_their_sorted_wnids() -> None:
    classes = OFFICIAL_CLASSES["tinyimagenet"]
    wnids = [each.wnid or "" for each in classes]
    assert len(set(wnids)) == len(wnids) == len({each.name for each in classes}) == 200
    assert wnids == sorted(wnids)
    assert sorted(each.wnids_txt_index or 0 for each in classes) == list(range(200))


def test_sorted_order_leaves_every_class_in_its_place() -> None:
    assert class_order("tinyimagenet", "sorted") == tuple(range(200))
    assert class_order("cifar100", "wnids-txt") == tuple(range(100))


def test_wnids_txt_order_begins_as_the_file_does_and_agrees_nowhere_with_the_sorted_one() -> None:
    order = class_order("tinyimagenet", "wnids-txt")
    wnids = [OFFICIAL_CLASSES["tinyimagenet"][place].wnid for place in order]
    assert wnids[:3] == ["n02124075", "n04067472", "n04540053"]  # Egyptian cat, reel, volleyball
    assert sorted(order) == list(range(200))
    assert all(label != place for label, place in enumerate(order))


@pytest.mark.data
@needs_data
def test_cifar100_names_are_those_of_the_meta_file(data_dir: Path) -> None:
    with (data_dir / "cifar-100-python" / "meta").open("rb") as file:
        meta = pickle.load(file)  # noqa: S301 -- the data set comes as a pickle
    assert [each.name for each in OFFICIAL_CLASSES["cifar100"]] == meta["fine_label_names"]


@pytest.mark.data
@needs_data
def test_tinyimagenet_facts_are_those_of_wnids_txt_and_words_txt(data_dir: Path) -> None:
    folder = data_dir / "tiny-imagenet-200"
    wnids = (folder / "wnids.txt").read_text().split()
    words = dict(line.split("\t") for line in (folder / "words.txt").read_text().splitlines())
    facts = [
        (each.wnid, each.wnids_txt_index, each.name) for each in OFFICIAL_CLASSES["tinyimagenet"]
    ]
    assert facts == [(wnid, wnids.index(wnid), words[wnid]) for wnid in sorted(wnids)]
