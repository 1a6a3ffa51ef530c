"""The real test sets, from any of their public layouts, in one form.

    DIR/cifar-100-python/{test,meta}                  torchvision's CIFAR-100
    DIR/tiny-imagenet-200/val/{images,val_annotations.txt}
    DIR/{cifar100,tinyimagenet}_test.pt               the challenge's own; or in DIR/reference_data

The challenge's own file goes first where both are there. It holds normalised images and labels, but
nobody documents the order of its Tiny-ImageNet labels; sorted wnids are assumed.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torchvision
from jaxtyping import Float, Int64, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from challenge.check import LOAD_ERRORS
from challenge.class_names import OFFICIAL_CLASSES, class_order
from challenge.errors import DataError
from challenge.images import from_uint8
from challenge.spec import DatasetName, DatasetSpec, LabelOrder
from challenge.submission import normalize

CIFAR_FOLDER, TINY_FOLDER = "cifar-100-python", "tiny-imagenet-200"


@dataclass(frozen=True)
class TestSet:
    """Normalised images and their labels in the order of sorted wnids; ``source`` is where from."""

    __test__: ClassVar[bool] = False  # pytest: this is data, no test

    dataset: DatasetName
    images: Float[Tensor, "N 3 S S"]
    labels: Int64[Tensor, " N"]
    source: Path

    def labels_in(self, order: LabelOrder) -> Int64[Tensor, " N"]:
        """The labels for a submission whose classes stand in ``order``."""
        places = class_order(self.dataset, order)  # the sorted place of each label
        label_of = torch.empty(len(places), dtype=torch.int64)
        label_of[torch.tensor(places)] = torch.arange(len(places))
        return label_of[self.labels]


def load_test_set(spec: DatasetSpec, data_dir: Path) -> TestSet:
    """The test set of ``spec`` below ``data_dir``.

    Raises:
        DataError: there is none, or what is there is damaged; says which files are expected where.
    """
    official = [
        folder / f"{spec.name}_test.pt" for folder in (data_dir, data_dir / "reference_data")
    ]
    for path in official:
        if path.is_file():
            return _load_official(spec, path)
    name, read = READERS[spec.name]
    folder = data_dir / name
    if not folder.is_dir():
        raise DataError(
            f"no {spec.title} test set in {data_dir}: neither {name}/ nor {official[0].name}; "
            "give --data the folder that holds one of them"
        )
    pixels, labels = read(folder)
    images = normalize(from_uint8(torch.from_numpy(pixels).permute(0, 3, 1, 2)), spec)
    return TestSet(spec.name, images, torch.tensor(labels), folder)


def _load_official(spec: DatasetSpec, path: Path) -> TestSet:
    """The challenge's own file: a dictionary of images_val (normalised) and labels_val."""
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        images, labels = content["images_val"].float(), content["labels_val"].long()
    except LOAD_ERRORS as error:
        raise DataError(
            f"{path}: no images_val and labels_val can be read from it "
            f"({type(error).__name__}); get it again"
        ) from error
    shape = (len(labels), *spec.image_shape)
    if tuple(images.shape) != shape or labels.ndim != 1 or not len(labels):
        raise DataError(f"{path}: images_val has shape {tuple(images.shape)}, expected {shape}")
    if labels.min() < 0 or labels.max() >= spec.num_classes:
        raise DataError(
            f"{path}: labels_val runs from {labels.min()} to {labels.max()}, "
            f"expected 0 to {spec.num_classes - 1}"
        )
    return TestSet(spec.name, images, labels, path)


class _Cifar100Test(torchvision.datasets.CIFAR100):  # type: ignore[misc]
    """torchvision's reader and checksums, for people who have the test file only."""

    train_list: ClassVar[list[list[str]]] = []


class _Cifar100Train(torchvision.datasets.CIFAR100):  # type: ignore[misc]
    """The same for the training file."""

    test_list: ClassVar[list[list[str]]] = []


def read_cifar100(
    folder: Path, *, train: bool = False
) -> tuple[UInt8[np.ndarray, "N 32 32 3"], Sequence[int]]:
    """Pixels and fine labels of the test or the training file."""
    reader = _Cifar100Train if train else _Cifar100Test
    try:
        found = reader(str(folder.parent), train=train, download=False)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"{folder}: {'train' if train else 'test'!r} or 'meta' is missing or damaged "
            "(torchvision's md5 check); unpack cifar-100-python.tar.gz again"
        ) from error
    return found.data, found.targets


def _read_tinyimagenet(folder: Path) -> tuple[UInt8[np.ndarray, "N 64 64 3"], Sequence[int]]:
    """The validation images, which have labels; the test images of the archive have none."""
    table = folder / "val" / "val_annotations.txt"
    places = {
        official.wnid: place for place, official in enumerate(OFFICIAL_CLASSES["tinyimagenet"])
    }
    try:
        rows = [line.split("\t")[:2] for line in table.read_text().splitlines() if line]
        labels = [places[wnid] for _, wnid in rows]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{table} is missing or damaged ({error}); unpack tiny-imagenet-200.zip again"
        ) from error
    present = sum(1 for _ in (folder / "val" / "images").glob("*.JPEG"))
    if not rows or len(rows) < present:
        raise DataError(
            f"{table} names {len(rows)} images, val/images holds {present}; "
            "unpack tiny-imagenet-200.zip again"
        )
    return read_images([folder / "val" / "images" / name for name, _ in rows]), labels


def read_images(paths: Sequence[Path]) -> UInt8[np.ndarray, "N 64 64 3"]:
    """Tiny-ImageNet's files decoded, grey ones as colour."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the interpreter lock
        return np.stack(list(pool.map(_read_image, paths)))


def _read_image(path: Path) -> UInt8[np.ndarray, "64 64 3"]:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(
            f"{path} is missing or damaged ({error}); unpack tiny-imagenet-200.zip again"
        ) from error
    if pixels.shape != (64, 64, 3):
        raise DataError(f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, expected 64x64")
    return pixels


READERS: dict[DatasetName, tuple[str, Callable[[Path], tuple[np.ndarray, Sequence[int]]]]] = {
    "cifar100": (CIFAR_FOLDER, read_cifar100),
    "tinyimagenet": (TINY_FOLDER, _read_tinyimagenet),
}
