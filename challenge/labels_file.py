"""Labels beside a submission: ``cifar100_labels.pt`` says what ``cifar100.pt`` cannot.

A submission's labels follow from its order, as many images of each class. A set with unequal counts
or in another order is readable too when its labels, an int64 tensor [N], lie beside it. The public
official script knows no such file.
"""

from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from challenge.errors import SubmissionError
from challenge.spec import DatasetSpec
from challenge.tensor_file import LOAD_ERRORS


def labels_path(submission: Path) -> Path:
    """Where the labels of a submission file lie, if they do."""
    return submission.with_name(f"{submission.stem}_labels.pt")


def read_labels(submission: Path, spec: DatasetSpec, images: int) -> Int64[Tensor, " N"] | None:
    """The labels of the submission's images; None when there is no labels file.

    Raises:
        SubmissionError: it cannot be read, or its labels do not fit the images or the data set.
    """
    path = labels_path(submission)
    if not path.exists():
        return None
    try:
        labels = torch.load(path, map_location="cpu", weights_only=True)
    except LOAD_ERRORS as error:
        raise SubmissionError(
            f"{path}: no labels can be read from it ({type(error).__name__}); "
            "save an int64 tensor with torch.save(labels, path), or delete it"
        ) from error
    expected = f"expected torch.int64 of shape ({images},), a label an image"
    if not isinstance(labels, Tensor):
        found = type(labels).__name__
        raise SubmissionError(f"{path}: holds an object of type {found}, {expected}")
    if labels.dtype != torch.int64 or labels.shape != (images,):
        raise SubmissionError(
            f"{path}: the labels are {labels.dtype} of shape {tuple(labels.shape)}, {expected}"
        )
    if images and (int(labels.min()) < 0 or int(labels.max()) >= spec.num_classes):
        raise SubmissionError(
            f"{path}: the labels run from {int(labels.min())} to {int(labels.max())}, "
            f"expected 0 to {spec.num_classes - 1} for {spec.title}"
        )
    return labels
