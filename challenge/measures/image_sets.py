"""A set of images to be looked at, by class: a run's journal, or a submission file of anybody's.

Classes are in the order of sorted names here, whatever order the file has them in. Pixels stay on
disk until they are read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from challenge.check import check_submission, load_submission
from challenge.class_names import class_order
from challenge.errors import SubmissionError
from challenge.images import to_uint8
from challenge.journal import Journal
from challenge.records import read_label_order
from challenge.spec import DATASETS, DatasetSpec, LabelOrder


@runtime_checkable  # so that tests can check signatures
class ImageSource(Protocol):
    """Images by class: those of a set, or real training images."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Images of each class, classes in the order of sorted names."""

    def read(self, class_index: int, places: list[int]) -> UInt8[Tensor, "N 3 S S"]:
        """The images at these places among those of a class."""


@dataclass(frozen=True)
class ImageSet:
    """A set with its name; ``what`` says which images these are, ``note`` what was assumed."""

    path: Path
    spec: DatasetSpec
    what: str
    images: ImageSource
    note: str | None = None

    @property
    def title(self) -> str:
        """The set in the words of a person."""
        return f"{self.path}, {self.spec.title}"

    @property
    def count(self) -> int:
        """All images of the set."""
        return sum(self.images.counts)


class JournalImages:
    """Every distinct image of a run, before post-augmentation."""

    def __init__(self, path: Path, spec: DatasetSpec, order: LabelOrder) -> None:
        self._journal = Journal.open(path)
        if self._journal.image_shape != spec.image_shape:
            raise SubmissionError(
                f"{path}: images of shape {self._journal.image_shape}, expected {spec.image_shape}"
            )
        self._label_of = _label_of_sorted(spec, order)
        made = self._journal.counts()
        self.counts = tuple(made.get(label, 0) for label in self._label_of)

    def read(self, class_index: int, places: list[int]) -> UInt8[Tensor, "N 3 S S"]:
        """The images at these places, in order of their rounds."""
        return self._journal.read(self._label_of[class_index])[places]


class FileImages:
    """What stands in a submission file, as pixels again."""

    def __init__(
        self,
        tensor: Tensor,
        spec: DatasetSpec,
        order: LabelOrder,
        labels: Int64[Tensor, " N"] | None,
    ) -> None:
        self._tensor, self._spec = tensor, spec
        if labels is None:
            ipc = len(tensor) // spec.num_classes
            labels = torch.arange(spec.num_classes).repeat_interleave(ipc)
        self._places = [
            (labels == label).nonzero()[:, 0] for label in _label_of_sorted(spec, order)
        ]
        self.counts = tuple(len(places) for places in self._places)

    def read(self, class_index: int, places: list[int]) -> UInt8[Tensor, "N 3 S S"]:
        """The images at these places among those of a class."""
        images = self._tensor[self._places[class_index][places]]
        mean = torch.tensor(self._spec.mean).view(3, 1, 1)
        std = torch.tensor(self._spec.std).view(3, 1, 1)
        return to_uint8(images * std + mean)


def image_sets(path: Path, wanted: tuple[DatasetSpec, ...]) -> list[ImageSet]:
    """The sets that ``path`` means: of a run folder the distinct images of its journals.

    A folder without journals, or a ``.pt`` file: what stands in the file, variants included.

    Raises:
        SubmissionError: there is none, or a file is not a valid submission.
        JournalError: a journal cannot be read.
    """
    if not path.is_dir():
        return [_file_set(path, wanted)]
    found = []
    for spec in wanted:
        journal, file = path / f"{spec.name}.journal", path / spec.file_name
        if journal.is_file():
            order, note = _label_order(file, spec)
            images = JournalImages(journal, spec, order)
            what = "distinct images as made, before post-augmentation"
            found.append(ImageSet(path, spec, what, images, note))
        elif file.is_file():
            found.append(_file_set(file, (spec,)))
    if not found:
        names = ", ".join(spec.title for spec in wanted)
        raise SubmissionError(
            f"{path} holds no journal and no submission of {names}; give a run folder or a .pt file"
        )
    return found


def _file_set(path: Path, wanted: tuple[DatasetSpec, ...]) -> ImageSet:
    report = check_submission(path)
    if not report.valid or report.dataset is None:
        raise SubmissionError(f"cannot be inspected: {'; '.join(report.problems)}")
    spec = DATASETS[report.dataset]
    if spec not in wanted:
        raise SubmissionError(
            f"{path} is a set for {spec.title}; give --dataset {spec.name}, or all"
        )
    order, note = _label_order(path, spec)
    images = FileImages(load_submission(path), spec, order, report.labels)
    return ImageSet(path, spec, "the submission file, variants included", images, note)


def _label_order(submission: Path, spec: DatasetSpec) -> tuple[LabelOrder, str | None]:
    """The order of the classes in the set, and what had to be assumed of it."""
    if spec.name == "cifar100":
        return "sorted", None
    found = read_label_order(submission)
    if found is not None:
        return found, None
    return "sorted", "its label order is not known: sorted wnids are taken"


def _label_of_sorted(spec: DatasetSpec, order: LabelOrder) -> list[int]:
    """For each class in the order of sorted names its label in a file of this order."""
    places = class_order(spec.name, order)
    return [places.index(place) for place in range(len(places))]
