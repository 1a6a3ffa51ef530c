"""What the predictions say beside one number: by class, confused pairs, chance, permuted labels.

A set whose labels are in another order than the test set's scores at chance, however good its
images are. The third-place entry of 2024 had its CIFAR-100 classes in superclass order. It shows in
the confusion matrix: some one-to-one naming of the classes explains it far better than the labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from challenge.class_names import OFFICIAL_CLASSES, class_order, superclass_order
from challenge.spec import DatasetName, DatasetSpec, LabelOrder

CONFUSED_PAIRS = 10
CHANCE_DEVIATIONS = 5  # standard errors above chance; below that a result is told to be chance
FAR_BETTER, FAR_BETTER_BY = 2.0, 0.01  # times the accuracy, and a point more


@dataclass(frozen=True)
class Permutation:
    """A naming of the labels that explains the result: label i means the class ``order[i]``.

    ``name`` is None for one that nobody is known to use; ``agreement`` is the share of the labels
    on which the best matching and the named order agree.
    """

    accuracy: float
    order: tuple[int, ...]
    name: str | None
    agreement: float | None


def confusion_matrix(
    predictions: Sequence[Int64[Tensor, " M"]], labels: Int64[Tensor, " M"], num_classes: int
) -> Int64[Tensor, "C C"]:
    """Test images of class i (row) that were labelled j (column), summed over the rounds."""
    places = torch.cat([labels * num_classes + predicted for predicted in predictions])
    return torch.bincount(places, minlength=num_classes**2).view(num_classes, num_classes)


def per_class_accuracy(confusion: Int64[Tensor, "C C"]) -> list[float | None]:
    """Share of each class's test images that were told; None for a class without any."""
    totals = confusion.sum(dim=1).tolist()
    right = confusion.diagonal().tolist()
    return [hits / total if total else None for hits, total in zip(right, totals, strict=True)]


def most_confused(confusion: Int64[Tensor, "C C"]) -> list[tuple[int, int, float]]:
    """The pairs (class, taken for, share of the class's images), the most frequent first."""
    shares = confusion.double() / confusion.sum(dim=1, keepdim=True).clamp_min(1)
    shares.fill_diagonal_(0)
    values, places = shares.flatten().topk(min(CONFUSED_PAIRS, shares.numel()))
    size = len(confusion)
    return [
        (place // size, place % size, share)
        for place, share in zip(places.tolist(), values.tolist(), strict=True)
        if share > 0
    ]


def at_chance_level(accuracy: float, num_classes: int, test_images: int) -> bool:
    """Whether a network that guesses could reach this accuracy."""
    chance = 1 / num_classes
    error = math.sqrt(chance * (1 - chance) / test_images)
    return accuracy < chance + CHANCE_DEVIATIONS * error


def find_permutation(
    predictions: Sequence[Int64[Tensor, " M"]],
    labels: Int64[Tensor, " M"],
    dataset: DatasetName,
    num_classes: int,
) -> Permutation | None:
    """The naming of the labels that explains the result far better than they do; usually None.

    ``labels`` must be in the order that the submission claims. The orders that people are known to
    use are tried first. The best matching of all is sought on one half of the test images and
    judged on the other, both ways: fitted and judged on the same, noise alone would give 4 %.
    """
    confusion = confusion_matrix(predictions, labels, num_classes)
    claimed = _accuracy(confusion, range(num_classes))
    known = known_orders(dataset) if num_classes == len(OFFICIAL_CLASSES[dataset]) else {}
    best = max(known, key=lambda name: _accuracy(confusion, known[name]), default=None)
    matched = best_matching(confusion)
    if best is not None and _is_far_better(_accuracy(confusion, known[best]), claimed):
        order = known[best]
        agreement = sum(a == b for a, b in zip(order, matched, strict=True)) / num_classes
        return Permutation(_accuracy(confusion, order), order, best, agreement)
    halves = [
        confusion_matrix([each[part::2] for each in predictions], labels[part::2], num_classes)
        for part in (0, 1)
    ]
    fitted = [best_matching(half) for half in halves]
    accuracy = (_accuracy(halves[1], fitted[0]) + _accuracy(halves[0], fitted[1])) / 2
    if not _is_far_better(accuracy, claimed):
        return None
    return Permutation(accuracy, matched, None, None)


def best_matching(confusion: Int64[Tensor, "C C"]) -> tuple[int, ...]:
    """For each label the class that it means if the matching is to explain the most images."""
    rows, columns = linear_sum_assignment(confusion.numpy(), maximize=True)
    return inverse(columns[rows.argsort()].tolist())


def _accuracy(confusion: Int64[Tensor, "C C"], order: Sequence[int]) -> float:
    """Share of the images whose label j means their class ``order[j]``."""
    right = confusion[torch.tensor(order), torch.arange(len(order))].sum()
    return float(right) / int(confusion.sum())


def _is_far_better(accuracy: float, claimed: float) -> bool:
    return accuracy > FAR_BETTER * claimed and accuracy > claimed + FAR_BETTER_BY


def known_orders(dataset: DatasetName) -> dict[str, tuple[int, ...]]:
    """Orders in which people have written their files: the class, by label, in the claimed order.

    For Tiny-ImageNet the claim is sorted wnids or the raw order of wnids.txt; a mistaken one shows
    as the other, seen from it.
    """
    classes = OFFICIAL_CLASSES[dataset]
    orders = {"reversed": tuple(reversed(range(len(classes))))}
    if dataset == "cifar100":
        orders["superclass order"] = superclass_order()
        return orders
    raw = class_order(dataset, "wnids-txt")
    by_name = sorted(range(len(classes)), key=lambda place: classes[place].name.casefold())
    orders["raw order of wnids.txt, claimed to be sorted"] = raw
    orders["sorted wnids, claimed to be wnids.txt"] = inverse(raw)
    orders["alphabetical by name, claimed to be sorted wnids"] = tuple(by_name)
    return orders


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes ``order``."""
    places = [0] * len(order)
    for place, value in enumerate(order):
        places[value] = place
    return tuple(places)


def label_names(spec: DatasetSpec, order: LabelOrder) -> list[str]:
    """A short name of the class of each label."""
    classes = OFFICIAL_CLASSES[spec.name]
    return [classes[place].name.partition(",")[0] for place in class_order(spec.name, order)]
