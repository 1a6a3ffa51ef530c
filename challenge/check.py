"""Is this file a valid submission, and what is in it? For our files and for anybody else's.

    challenge check submissions/first/cifar100.pt
    challenge check somebody.pt --dataset tinyimagenet --json

A *problem* makes a file invalid: it would be refused, or trained on wrongly. A *warning* is what
its author should look at. Nothing in the file is executed (``weights_only=True``), and of a file
that can be memory-mapped only a few hundred images are in memory, however many there are.
"""

import hashlib
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from challenge.errors import SubmissionError
from challenge.labels_file import read_labels
from challenge.pixel_scan import PixelScan
from challenge.spec import DATASETS, DatasetName, DatasetSpec
from challenge.tensor_file import LOAD_ERRORS

CHUNK_IMAGES = 256


@dataclass(frozen=True)
class SubmissionReport:
    """What was found in a file; ``mean`` and ``std`` are per channel, of the values as they stand.

    What could not be found out is None (``images`` and ``ipc``: 0). With a labels file ``ipc`` is
    the number of images of the smallest class.
    """

    path: Path
    dataset: DatasetName | None
    images: int = 0
    ipc: int = 0
    sha256: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: Int64[Tensor, " N"] | None = None  # of a labels file beside it
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether the file has no problem; warnings do not count."""
        return not self.problems


def check_submission(path: Path, dataset: DatasetName | None = None) -> SubmissionReport:
    """Read the file and judge it; without ``dataset`` the image size says which data set it is for.

    Whatever is wrong with the file stands in the report; nothing is raised for it.
    """
    try:
        tensor = load_submission(path)
        sha256 = _file_sha256(path)
    except SubmissionError as error:
        return SubmissionReport(path, dataset, problems=(f"{path}: {error}",))
    spec = DATASETS[dataset] if dataset else _dataset_of_size(tensor)
    images = len(tensor) if tensor.dim() else 0
    labels, label_problems = None, []
    if spec:
        try:
            labels = read_labels(path, spec, images)
        except SubmissionError as error:
            label_problems = [str(error)]
    scan = None
    if spec and images and tensor.shape[1:] == spec.image_shape and not tensor.is_complex():
        scan = PixelScan(spec, images, labels)
        for start in range(0, images, CHUNK_IMAGES):
            scan.add(tensor[start : start + CHUNK_IMAGES])
    labelled = labels is not None or bool(label_problems)
    problems = _form_problems(tensor, spec, labelled) + (scan.problems() if scan else [])
    problems += label_problems
    hints = _form_warnings(tensor) + (scan.warnings() if scan else [])
    hints += _label_warnings(labels, spec) if spec and labels is not None else []
    return SubmissionReport(
        path=path,
        dataset=spec.name if spec else None,
        images=images,
        ipc=_images_per_class(images, labels, spec) if spec else 0,
        labels=labels,
        sha256=sha256,
        mean=scan.mean if scan else None,
        std=scan.std if scan else None,
        problems=tuple(f"{path}: {problem}" for problem in problems),
        warnings=tuple(f"{path}: {warning}" for warning in hints),
    )


def load_submission(path: Path) -> Tensor:
    """The one tensor in the file, memory-mapped where possible.

    Raises:
        SubmissionError: there is no file, or it holds no plain dense tensor.
    """
    if not path.is_file():
        found = "not a file" if path.exists() else "there is no such file"
        raise SubmissionError(f"{found}; give a submission such as cifar100.pt")
    try:
        with warnings.catch_warnings(action="ignore"):  # the report says it all
            loaded = torch.load(
                path, map_location="cpu", mmap=_can_be_mapped(path), weights_only=True
            )
    except LOAD_ERRORS as error:
        raise SubmissionError(_why_not_loaded(error)) from error
    if type(loaded) is not Tensor:
        raise SubmissionError(
            f"the file holds an object of type {type(loaded).__name__}, expected one plain tensor; "
            "save the images alone with torch.save(images, path)"
        )
    if loaded.layout != torch.strided or loaded.is_meta or loaded.is_quantized:
        raise SubmissionError(
            "the file holds a sparse, quantized or empty tensor, expected dense float32 values; "
            "save a dense tensor with torch.save(images, path)"
        )
    stored, used = loaded.untyped_storage().nbytes(), loaded.nbytes
    if stored < used:
        raise SubmissionError(
            f"the file holds {stored:,} bytes for a tensor of {used:,}: its values stand for "
            "several places each (torch.expand); save images.contiguous()"
        )
    return loaded.detach()


def _can_be_mapped(path: Path) -> bool:
    """Whether it is a zip archive (torch's old format was not) of uncompressed records."""
    try:
        with zipfile.ZipFile(path) as archive:
            return all(record.compress_type == zipfile.ZIP_STORED for record in archive.infolist())
    except (zipfile.BadZipFile, OSError):
        return False


def _why_not_loaded(error: Exception) -> str:
    """One line for what torch tells in many."""
    if isinstance(error, OSError):
        return f"the file cannot be read ({error.strerror or error}); check its permissions"
    if found := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"the file holds more than a tensor ({found[1]}) and was refused unread, since reading "
            "could run code; save the images alone with torch.save(images, path)"
        )
    message = str(error).rpartition("WeightsUnpickler error:")[2]
    reason = message.strip().partition("\n")[0] or type(error).__name__
    return f"the file is damaged or not one that torch.save wrote ({reason}); save it again"


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dataset_of_size(tensor: Tensor) -> DatasetSpec | None:
    sizes = {spec.image_size: spec for spec in DATASETS.values()}
    return sizes.get(tensor.shape[-1]) if tensor.dim() == 4 else None


def _images_per_class(images: int, labels: Tensor | None, spec: DatasetSpec) -> int:
    if labels is None:
        return images // spec.num_classes
    return int(torch.bincount(labels, minlength=spec.num_classes).min())


def _label_warnings(labels: Tensor, spec: DatasetSpec) -> list[str]:
    """What a labels file does that the challenge does not foresee."""
    counts = torch.bincount(labels, minlength=spec.num_classes)
    warnings = []
    if missing := [int(place) for place in (counts == 0).nonzero()]:
        warnings.append(
            f"no image of {len(missing)} of {spec.num_classes} classes (first: class "
            f"{missing[0]}); none of their test images will be told"
        )
    if int(counts.min()) != int(counts.max()):
        warnings.append(
            f"{int(counts.min())} to {int(counts.max())} images a class by its labels file; "
            "the challenge's form is the same number of each class, without such a file"
        )
    return warnings


def _form_problems(tensor: Tensor, spec: DatasetSpec | None, labelled: bool) -> list[str]:
    """What is wrong with dtype and shape; a ``labelled`` set may hold any number of images."""
    problems = []
    shape = tuple(tensor.shape)
    if tensor.dtype != torch.float32:
        problems.append(f"the dtype is {tensor.dtype}, expected torch.float32; save images.float()")
    specs = [spec] if spec else DATASETS.values()
    if spec is None or shape[1:] != spec.image_shape:
        expected = " or ".join(f"(N, {str(s.image_shape)[1:]} for {s.title}" for s in specs)
        advice = "save images.permute(0, 3, 1, 2)" if shape[3:] == (3,) else "resize the images"
        problems.append(f"the shape is {shape}, expected {expected}; {advice}")
    elif len(tensor) == 0 or (len(tensor) % spec.num_classes and not labelled):
        problems.append(
            f"there are {len(tensor)} images, expected a multiple of {spec.num_classes} for "
            f"{spec.title}; give every class the same number"
        )
    return problems


def _form_warnings(tensor: Tensor) -> list[str]:
    stored, used = tensor.untyped_storage().nbytes(), tensor.nbytes
    if stored <= used:
        return []
    return [
        f"the file holds {stored:,} bytes for a tensor of {used:,}, a part of a larger one; "
        "save images.clone()"
    ]
