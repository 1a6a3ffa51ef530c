import pytest
import torch
from torch import Tensor

from challenge.class_names import OFFICIAL_CLASSES, class_order
from challenge.evaluation.confusion import (
    at_chance_level,
    best_matching,
    confusion_matrix,
    find_permutation,
    inverse,
    known_orders,
    label_names,
    most_confused,
    per_class_accuracy,
)
from challenge.spec import CIFAR100, TINYIMAGENET

LABELS = torch.arange(100).repeat_interleave(100)  # a test set as CIFAR-100's


def guesses(seed: int, right: float, order: tuple[int, ...] | range = range(100)) -> Tensor:
    """Predictions of which ``right`` are right in a set whose label i means class ``order[i]``."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randint(100, LABELS.shape, generator=rng)
    known = torch.rand(LABELS.shape, generator=rng) < right
    return torch.where(known, torch.tensor(inverse(order))[LABELS], noise)


def test_confusion_counts_class_by_label_over_the_rounds() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    rounds = [torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 2, 2])]
    confusion = confusion_matrix(rounds, labels, 3)
    assert confusion.tolist() == [[2, 2, 0], [0, 1, 1], [1, 0, 1]]
    assert per_class_accuracy(confusion) == [0.5, 0.5, 0.5]
    pairs = most_confused(confusion)
    assert {(a, b) for a, b, _ in pairs} == {(0, 1), (1, 2), (2, 0)}
    assert [share for _, _, share in pairs] == [0.5, 0.5, 0.5]


def test_a_class_without_test_images_has_no_accuracy() -> None:
    confusion = confusion_matrix([torch.tensor([0, 1])], torch.tensor([0, 0]), 2)
    assert per_class_accuracy(confusion) == [0.5, None]


def test_chance_is_told_from_little_knowledge() -> None:
    # the standard error of 1 % in 10,000 images is 0.1 %
    assert at_chance_level(0.010, 100, 10_000)
    assert at_chance_level(0.0149, 100, 10_000)
    assert not at_chance_level(0.0151, 100, 10_000)


def test_the_best_matching_undoes_a_permutation() -> None:
    confusion = torch.tensor([[0, 9, 1], [0, 1, 8], [7, 0, 0]])
    # label 0 is mostly given to class 2, label 1 to class 0, label 2 to class 1
    assert best_matching(confusion) == (2, 0, 1)


def test_inverse_undoes() -> None:
    assert inverse([2, 0, 1]) == (1, 2, 0)


def test_a_good_set_has_no_permutation() -> None:
    assert find_permutation([guesses(0, 0.15)], LABELS, "cifar100", 100) is None


@pytest.mark.parametrize("rounds", [1, 3])
def test_noise_has_no_permutation(rounds: int) -> None:
    predictions = [guesses(seed, 0.0) for seed in range(rounds)]
    assert find_permutation(predictions, LABELS, "cifar100", 100) is None


@pytest.mark.parametrize("name", known_orders("cifar100"))
def test_a_known_order_is_named(name: str) -> None:
    order = known_orders("cifar100")[name]
    found = find_permutation([guesses(0, 0.15, order)], LABELS, "cifar100", 100)
    assert found is not None
    assert found.name == name
    assert found.order == order
    assert found.accuracy == pytest.approx(0.16, abs=0.015)
    assert found.agreement is not None
    assert found.agreement > 0.95


def test_an_unknown_order_is_found_too() -> None:
    order = tuple(torch.randperm(100, generator=torch.Generator().manual_seed(3)).tolist())
    found = find_permutation([guesses(0, 0.2, order)], LABELS, "cifar100", 100)
    assert found is not None
    assert found.name is None
    assert sum(a == b for a, b in zip(found.order, order, strict=True)) > 95
    assert found.accuracy == pytest.approx(0.21, abs=0.02)


def test_the_superclass_order_agrees_with_the_fine_labels_at_one_place() -> None:
    order = known_orders("cifar100")["superclass order"]
    assert sorted(order) == list(range(100))
    assert [OFFICIAL_CLASSES["cifar100"][place].name for place in order[:2]] == [
        "beaver",
        "dolphin",
    ]
    assert sum(place == label for label, place in enumerate(order)) == 1


def test_tiny_orders_are_permutations_seen_from_the_claim() -> None:
    orders = known_orders("tinyimagenet")
    for order in orders.values():
        assert sorted(order) == list(range(200))
    raw = class_order("tinyimagenet", "wnids-txt")
    assert orders["raw order of wnids.txt, claimed to be sorted"] == raw
    claimed = orders["sorted wnids, claimed to be wnids.txt"]
    # in a file of sorted wnids label 0 means sorted place 0, which is some line of wnids.txt
    assert raw[claimed[0]] == 0


def test_labels_have_the_names_of_their_order() -> None:
    assert label_names(CIFAR100, "sorted")[:2] == ["apple", "aquarium_fish"]
    first = label_names(TINYIMAGENET, "wnids-txt")[0]
    assert first == "Egyptian cat"  # n02124075, the head of wnids.txt
