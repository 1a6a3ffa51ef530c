"""The real test sets, from any of their public layouts, in one form.

    DIR/cifar-100-python/{test,meta}                  torchvision's CIFAR-100
    DIR/tiny-imagenet-200/val/{images,val_annotations.txt}
    DIR/{cifar100,tinyimagenet}_test.pt               the challenge's own; or in DIR/reference_data

The challenge's own file goes first where both are there. It holds normalised images and labels, but
nobody documents the order of its Tiny-ImageNet labels: it is found by matching images where
tiny-imagenet-200 is there too, else sorted wnids are assumed.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torchvision
from jaxtyping import Float, Int64, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from challenge.class_names import OFFICIAL_CLASSES, class_order
from challenge.errors import DataError
from challenge.images import from_uint8
from challenge.label_order import order_by_matching, order_title
from challenge.spec import DatasetName, DatasetSpec, LabelOrder
from challenge.submission import normalize
from challenge.tensor_file import LOAD_ERRORS

FOLDERS: dict[DatasetName, str] = {
    "cifar100": "cifar-100-python",
    "tinyimagenet": "tiny-imagenet-200",
}


@dataclass(frozen=True)
class TestSet:
    """Normalised images and their labels in the order of sorted wnids; ``source`` is where from.

    ``note`` says what a reader must know of how the labels were understood.
    """

    __test__: ClassVar[bool] = False  # pytest: this is data, no test

    dataset: DatasetName
    images: Float[Tensor, "N 3 S S"]
    labels: Int64[Tensor, " N"]
    source: Path
    note: str | None = None

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
    folder = data_dir / FOLDERS[spec.name]
    for path in official:
        if path.is_file():
            found = _load_official(spec, path)
            return found if spec.name == "cifar100" else _with_order_found(found, spec, folder)
    if not folder.is_dir():
        raise DataError(
            f"no {spec.title} test set in {data_dir}: neither {folder.name}/ nor "
            f"{official[0].name}; give --data the folder that holds one of them, or --download to "
            "fetch it"
        )
    return _load_public(spec, folder)


def _load_public(spec: DatasetSpec, folder: Path) -> TestSet:
    """The set in the layout that the whole world has."""
    read = read_cifar100 if spec.name == "cifar100" else _read_tinyimagenet
    pixels, labels = read(folder)
    images = normalize(from_uint8(torch.from_numpy(pixels).permute(0, 3, 1, 2)), spec)
    return TestSet(spec.name, images, torch.tensor(labels), folder)


def _with_order_found(official: TestSet, spec: DatasetSpec, folder: Path) -> TestSet:
    """The official set with its labels in sorted order, as far as its images tell."""
    name = official.source.name
    if not folder.is_dir():
        note = f"the label order of {name} is taken to be sorted wnids; {folder.name}/ would tell"
        return replace(official, note=note)
    known = _load_public(spec, folder)
    order = order_by_matching(
        official.images, official.labels, known.images, known.labels, spec.num_classes
    )
    if order is None:
        note = (
            f"the label order of {name} could not be found: its images are not those of "
            f"{folder.name}/val; sorted wnids are taken"
        )
        return replace(official, note=note)
    note = (
        f"the label order of {name} is {order_title(spec.name, order)}, found by matching its "
        f"images to those of {folder.name}/val"
    )
    return replace(official, labels=torch.tensor(order)[official.labels], note=note)


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
    """Pixels and fine labels of the test or the training file; ``DataError`` when it is not so."""
    if not folder.is_dir():
        raise DataError(
            f"no {folder.name}/ in {folder.parent}; give the folder that it lies in, or unpack "
            "cifar-100-python.tar.gz there"
        )
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
    named = len({name for name, _ in rows})
    present = sum(1 for _ in (folder / "val" / "images").glob("*.JPEG"))
    if not named or named < max(present, len(rows)):
        twice = f", {len(rows) - named} of them twice" if named < len(rows) else ""
        raise DataError(
            f"{table} names {named} images{twice}, val/images holds {present}; "
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
