"""Sets of known faults, made from real (or made-up) images, and what should see each of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from challenge.measures.image_sets import ImageSet
from challenge.measures.pictures import LUMA
from challenge.spec import DatasetSpec

Place = Literal["overall", "classes_mean"]
Direction = Literal["falls", "rises"]


@dataclass(frozen=True)
class Fault:
    """``make`` spoils uint8 images [classes, N, 3, S, S]; ``seen_by`` is what must show it."""

    name: str
    make: Callable[[Tensor], Tensor]
    seen_by: tuple[tuple[Place, str, Direction], ...]


class ArrayImages:
    """Images in memory as a set."""

    def __init__(self, by_class: Tensor) -> None:
        self._by_class = by_class
        self.counts = (by_class.shape[1],) * len(by_class)

    def read(self, class_index: int, places: list[int]) -> Tensor:
        return self._by_class[class_index, places]


def as_set(name: str, by_class: Tensor, spec: DatasetSpec) -> ImageSet:
    return ImageSet(Path(name), spec, "a set of a known fault", ArrayImages(by_class))


def one_mode(by_class: Tensor) -> Tensor:
    """Every image of a class is its first one, a little lighter or darker, with some noise."""
    rng = torch.Generator().manual_seed(0)
    first = by_class[:, :1].float().expand(by_class.shape)
    gain = 0.9 + 0.2 * torch.rand((*by_class.shape[:2], 1, 1, 1), generator=rng)
    noise = 4 * torch.randn(by_class.shape, generator=rng)
    return (first * gain + noise).clamp(0, 255).to(torch.uint8)


def wrong_labels(share: float) -> Callable[[Tensor], Tensor]:
    """So many images of each class are the next class's."""

    def make(by_class: Tensor) -> Tensor:
        wrong = round(by_class.shape[1] * share)
        mixed = by_class.clone()
        mixed[:, :wrong] = by_class.roll(-1, 0)[:, :wrong]
        return mixed

    return make


def upside_down(by_class: Tensor) -> Tensor:
    """Vertical flips."""
    return by_class.flip(-2)


def grey(by_class: Tensor) -> Tensor:
    """Black and white."""
    luma = torch.einsum("knchw,c->knhw", by_class.float(), torch.tensor(LUMA))
    return luma.round().to(torch.uint8).unsqueeze(2).expand(by_class.shape)


def duplicates(share: float) -> Callable[[Tensor], Tensor]:
    """So many images of each class are copies of others of it."""

    def make(by_class: Tensor) -> Tensor:
        copies = round(by_class.shape[1] * share)
        copied = by_class.clone()
        copied[:, -copies:] = by_class[:, :copies]
        return copied

    return make


def blurred_averages(by_class: Tensor) -> Tensor:
    """Each image is the mean of itself and its three followers in the class, blurred."""
    mean = torch.stack([by_class.roll(-step, 1).float() for step in range(4)]).mean(0)
    blurred = F.avg_pool2d(F.pad(mean.flatten(0, 1), (1,) * 4, "replicate"), 3, stride=1)
    return blurred.round().to(torch.uint8).view_as(by_class)


FAULTS = (
    Fault(
        "one mode per class",
        one_mode,
        (
            ("classes_mean", "vendi_share", "falls"),
            ("classes_mean", "mean_pairwise_distance", "falls"),
            ("classes_mean", "recall", "falls"),
            ("classes_mean", "coverage", "falls"),
            ("classes_mean", "highest_similarity", "rises"),
            ("overall", "near_duplicate_share", "rises"),
            ("overall", "kid", "rises"),
        ),
    ),
    Fault(
        "wrong labels in 10 %",
        wrong_labels(0.1),
        (
            ("overall", "told_right", "falls"),
            ("classes_mean", "precision", "falls"),
            ("classes_mean", "kid", "rises"),
        ),
    ),
    Fault(
        "upside down",
        upside_down,
        (
            ("overall", "told_right", "falls"),
            ("overall", "kid", "rises"),
            ("classes_mean", "precision", "falls"),
            ("classes_mean", "coverage", "falls"),
        ),
    ),
    Fault(
        "grey",
        grey,
        (
            ("overall", "saturation", "falls"),
            ("overall", "grey_share", "rises"),
            ("overall", "kid", "rises"),
        ),
    ),
    Fault(
        "20 % duplicates",
        duplicates(0.2),
        (
            ("overall", "near_duplicate_share", "rises"),
            ("classes_mean", "highest_similarity", "rises"),
            ("classes_mean", "vendi_share", "falls"),
            ("classes_mean", "coverage", "falls"),
        ),
    ),
    Fault(
        "blurred averages",
        blurred_averages,
        (
            ("overall", "sharpness", "falls"),
            ("classes_mean", "recall", "falls"),
            ("classes_mean", "vendi_share", "falls"),
            ("overall", "kid", "rises"),
        ),
    ),
)
