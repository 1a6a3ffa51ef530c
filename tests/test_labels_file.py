from pathlib import Path

import pytest
import torch

from challenge.check import check_submission
from challenge.errors import SubmissionError
from challenge.labels_file import labels_path, read_labels
from challenge.spec import CIFAR100


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    """130 images: one of each class, and thirty more of class 7."""
    rng = torch.Generator().manual_seed(0)
    torch.save(torch.randn(130, 3, 32, 32, generator=rng), tmp_path / "cifar100.pt")
    return tmp_path / "cifar100.pt"


LABELS = torch.tensor([*range(100), *[7] * 30])


def test_labels_lie_beside_the_file(submission: Path) -> None:
    assert labels_path(submission) == submission.parent / "cifar100_labels.pt"
    assert read_labels(submission, CIFAR100, 130) is None
    torch.save(LABELS, labels_path(submission))
    found = read_labels(submission, CIFAR100, 130)
    assert found is not None
    assert torch.equal(found, LABELS)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (LABELS.float(), r"torch\.float32 of shape \(130,\), expected torch\.int64"),
        (LABELS[:-1], r"shape \(129,\), expected torch\.int64 of shape \(130,\)"),
        (LABELS + 1, "run from 1 to 100, expected 0 to 99"),
        (LABELS - 1, "run from -1 to 98"),
        ([1, 2], "object of type list"),
    ],
)
def test_labels_that_do_not_fit_are_told(submission: Path, content: object, found: str) -> None:
    torch.save(content, labels_path(submission))
    with pytest.raises(SubmissionError, match=found):
        read_labels(submission, CIFAR100, 130)
    report = check_submission(submission)
    assert not report.valid
    assert len(report.problems) == 1  # the number of images is not blamed too


def test_a_damaged_labels_file_is_told_in_one_line(submission: Path) -> None:
    labels_path(submission).write_bytes(b"no tensor")
    with pytest.raises(SubmissionError, match="no labels can be read from it") as caught:
        read_labels(submission, CIFAR100, 130)
    assert "\n" not in str(caught.value)


def test_unequal_counts_are_valid_with_labels_only(submission: Path) -> None:
    assert "multiple of 100" in check_submission(submission).problems[0]
    torch.save(LABELS, labels_path(submission))
    report = check_submission(submission)
    assert report.valid
    assert report.ipc == 1
    assert any("1 to 31 images a class" in warning for warning in report.warnings)
    torch.save(LABELS.clamp(min=3), labels_path(submission))
    warnings = " ".join(check_submission(submission).warnings)
    assert "no image of 3 of 100 classes (first: class 0)" in warnings


def test_warnings_name_the_class_that_the_labels_say(submission: Path) -> None:
    images = torch.load(submission, weights_only=True)
    images[0] = 0.25
    torch.save(images, submission)
    torch.save(LABELS.flip(0), labels_path(submission))
    assert any("image 0, class 7" in warning for warning in check_submission(submission).warnings)
