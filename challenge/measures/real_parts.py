"""The real training images in three parts that never meet, so that no figure flatters itself.

Half of each class teaches the feature space, a quarter is the reference that sets are compared
with, and a quarter is the baseline: real images that are measured as if they had been made. Test
images are never read.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from challenge.errors import DataError
from challenge.seeds import derive_seed
from challenge.spec import DatasetSpec
from challenge.train_images import TrainImages


@dataclass(frozen=True)
class RealParts:
    """Which training images are in which part; the split is the same in every run."""

    spec: DatasetSpec
    images: TrainImages

    def __post_init__(self) -> None:
        """Raise ``DataError`` where there are too few images to make three parts."""
        if self.smallest_quarter == 0:
            fewest = min(self.images.counts)
            raise DataError(
                f"{fewest} training images of class {self.images.counts.index(fewest)} of "
                f"{self.spec.title}, expected 4 at least; unpack the whole training set"
            )

    @property
    def smallest_quarter(self) -> int:
        """Images a class that both reference and baseline have."""
        return min(self.images.counts) // 4

    def teaching(self, class_index: int) -> UInt8[Tensor, "N 3 S S"]:
        """The half of a class that the feature space is made from."""
        return self._read(class_index, 0, self.images.counts[class_index] // 2)

    def held_out(self, class_index: int, count: int) -> UInt8[Tensor, "N 3 S S"]:
        """Some of the other half: reference and baseline, one after the other."""
        return torch.cat([self.reference(class_index, count), self.baseline(class_index, count)])

    def reference(self, class_index: int, count: int) -> UInt8[Tensor, "N 3 S S"]:
        """The first ``count`` images of the reference quarter."""
        start = self.images.counts[class_index] // 2
        return self._read(class_index, start, start + min(count, self.smallest_quarter))

    def baseline(self, class_index: int, count: int) -> UInt8[Tensor, "N 3 S S"]:
        """The first ``count`` images of the baseline quarter."""
        start = self.images.counts[class_index] // 2 + self.smallest_quarter
        return self._read(class_index, start, start + min(count, self.smallest_quarter))

    @cached_property
    def fingerprint(self) -> str:
        """Tells one folder of training images from another: the counts and an image a class."""
        digest = hashlib.sha256(repr(self.images.counts).encode())
        for class_index in range(self.spec.num_classes):
            digest.update(self._read(class_index, 0, 1).numpy().tobytes())
        return digest.hexdigest()[:16]

    def _read(self, class_index: int, start: int, end: int) -> UInt8[Tensor, "N 3 S S"]:
        seed = derive_seed("parts of the training images", self.spec.name, class_index)
        order = np.random.default_rng(seed).permutation(self.images.counts[class_index])
        return self.images.read(class_index, order[start:end].tolist())
