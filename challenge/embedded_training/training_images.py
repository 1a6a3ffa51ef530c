"""The real training images, a part of them set aside for validation. Test sets are never read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from challenge.spec import DatasetSpec
from challenge.train_images import TrainImages, draw_places

VALIDATION_SHARE = 0.1
ALL = 10**6  # more than any class has
SHIFT_GROUPS = 16  # images of a batch are shifted in so many groups


@dataclass(frozen=True)
class TrainingImages:
    """The training images of one data set, by class, in the order of sorted names."""

    spec: DatasetSpec
    train: UInt8[Tensor, "classes N 3 S S"]
    validation: UInt8[Tensor, "classes M 3 S S"]
    search_terms: Sequence[Sequence[str]]
    """Of each training image, what it was found by; empty where the data set does not tell."""


def load_training_images(spec: DatasetSpec, data_dir: Path, seed: int) -> TrainingImages:
    """All training images below ``data_dir``; the last tenth of each class is for validation.

    The seed decides which these are.

    Raises:
        DataError: there are none, or a file is damaged.
    """
    images = TrainImages.below(spec, data_dir)
    drawn = draw_places(spec, images.counts, ALL, seed)
    count = len(drawn[0])  # as many of each class
    kept = count - max(1, round(count * VALIDATION_SHARE))
    train, validation = (
        torch.stack([images.read(index, places[part]) for index, places in enumerate(drawn)])
        for part in (slice(kept), slice(kept, count))
    )
    terms = [images.search_terms(index, places[:kept]) for index, places in enumerate(drawn)]
    return TrainingImages(spec, train, validation, terms)


def labels_of(by_class: UInt8[Tensor, "classes N 3 S S"]) -> Int64[Tensor, " _"]:
    """The labels of all the images, class after class."""
    return torch.arange(len(by_class)).repeat_interleave(by_class.shape[1])


def to_signed(images: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """0..255 to float32 in [-1, 1], the range in which a VAE works."""
    return images.float() / 127.5 - 1


def mirror_half(images: UInt8[Tensor, "B 3 H W"], rng: torch.Generator) -> UInt8[Tensor, "B 3 H W"]:
    """Mirror each image left to right with a chance of one half."""
    mirrored = torch.rand(len(images), generator=rng) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def shift(
    images: UInt8[Tensor, "B 3 H W"], most: int, rng: torch.Generator
) -> UInt8[Tensor, "B 3 H W"]:
    """Shift by up to ``most`` pixels either way; what comes in at the border is mirrored."""
    height, width = images.shape[-2:]
    shifted = []
    for group in images.chunk(SHIFT_GROUPS):
        top, left = torch.randint(0, 2 * most + 1, (2,), generator=rng).tolist()
        padded = F.pad(group.float(), (most,) * 4, mode="reflect")
        shifted.append(padded[:, :, top : top + height, left : left + width])
    return torch.cat(shifted).to(torch.uint8)
