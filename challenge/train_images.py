"""Real training images, from the public layouts that ``datasets`` reads the test sets from.

    DIR/cifar-100-python/{train,meta}
    DIR/tiny-imagenet-200/train/WNID/images/*.JPEG

``--model images:DIR`` deals them out: the baseline that papers print as "random real".
"""

import abc
import pickle
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from challenge.class_names import OFFICIAL_CLASSES
from challenge.datasets import FOLDERS, read_cifar100, read_images
from challenge.errors import DataError
from challenge.seeds import derive_seed
from challenge.spec import DatasetSpec

_FOUND_BY = re.compile(r"(\w+)_s_\d+\.png")


class TrainImages(abc.ABC):
    """The training images of one data set; class i is class i in the order of sorted names."""

    counts: tuple[int, ...]  # images of each class

    @staticmethod
    def below(spec: DatasetSpec, data_dir: Path) -> "TrainImages":
        """Those of ``spec`` in the folder that ``evaluate --data`` takes.

        Raises:
            DataError: there are none, or a file is damaged; says what is expected where.
        """
        return _READERS[spec.name](data_dir)

    @abc.abstractmethod
    def read(self, class_index: int, places: list[int]) -> UInt8[Tensor, "N 3 S S"]:
        """The images at these places among those of a class."""

    def search_terms(self, class_index: int, places: list[int]) -> list[str]:
        """What each of them was found by; empty texts, unless the data set tells."""
        return [""] * len(places)


class _Cifar100(TrainImages):
    """50,000 images in one file, 150 MB in memory."""

    def __init__(self, data_dir: Path) -> None:
        self._pixels, targets = read_cifar100(data_dir / FOLDERS["cifar100"], train=True)
        self._file = data_dir / FOLDERS["cifar100"] / "train"
        labels = np.array(targets)
        classes = range(int(labels.max()) + 1)
        self._places: list[Int64[np.ndarray, " _"]] = [
            np.flatnonzero(labels == label) for label in classes
        ]
        self.counts = tuple(len(places) for places in self._places)

    def read(self, class_index: int, places: list[int]) -> UInt8[Tensor, "N 3 S S"]:
        # not np.take: of torchvision's transposed array it would copy all, 0.3 s an image
        return _channels_first(self._pixels[self._places[class_index][places]])

    @cached_property
    def _names(self) -> list[str]:
        # torchvision, which has checked the file's md5 by now, leaves this entry out
        with self._file.open("rb") as file:
            content: dict[str, list[str]] = pickle.load(file, encoding="latin1")  # noqa: S301
        return content["filenames"]

    def search_terms(self, class_index: int, places: list[int]) -> list[str]:
        """From ``red_delicious_s_000123.png``: ``red delicious``."""
        names = (self._names[place] for place in self._places[class_index][places])
        found = (_FOUND_BY.fullmatch(name) for name in names)
        return [match[1].replace("_", " ") if match else "" for match in found]


class _TinyImageNet(TrainImages):
    """A file an image, read when it is asked for."""

    def __init__(self, data_dir: Path) -> None:
        train = data_dir / FOLDERS["tinyimagenet"] / "train"
        self._files: list[list[Path]] = []
        for official in OFFICIAL_CLASSES["tinyimagenet"]:
            images = train / str(official.wnid) / "images"
            self._files.append(sorted(images.glob("*.JPEG")))
            if not self._files[-1]:
                raise DataError(
                    f"no image in {images}, expected training images (*.JPEG); "
                    f"unpack tiny-imagenet-200.zip in {data_dir}"
                )
        self.counts = tuple(map(len, self._files))

    def read(self, class_index: int, places: list[int]) -> UInt8[Tensor, "N 3 S S"]:
        files = self._files[class_index]
        return _channels_first(read_images([files[place] for place in places]))


def load_train_images(
    spec: DatasetSpec, data_dir: Path, per_class: int, seed: int
) -> UInt8[Tensor, "N 3 S S"]:
    """Real training images drawn at random, class-major, classes in the order of sorted names.

    As many of each class: ``per_class``, or what the smallest class has where that is less.

    Raises:
        DataError: there are none, or a file is damaged.
        ValueError: ``per_class`` is below 1.
    """
    if per_class < 1:
        raise ValueError(f"per_class is {per_class}, expected at least 1")
    images = TrainImages.below(spec, data_dir)
    drawn = draw_places(spec, images.counts, per_class, seed)
    return torch.cat([images.read(index, places) for index, places in enumerate(drawn)])


def draw_places(
    spec: DatasetSpec, counts: Sequence[int], per_class: int, seed: int
) -> list[list[int]]:
    """Places drawn at random among the images of each class, as many of each."""
    rng = np.random.default_rng(derive_seed(seed, "train images", spec.name))
    count = min(per_class, *counts)
    return [rng.permutation(of_class)[:count].tolist() for of_class in counts]


def _channels_first(pixels: UInt8[np.ndarray, "N S S 3"]) -> UInt8[Tensor, "N 3 S S"]:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


_READERS = {"cifar100": _Cifar100, "tinyimagenet": _TinyImageNet}
