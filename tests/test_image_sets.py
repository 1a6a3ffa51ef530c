import json
from pathlib import Path

import pytest
import torch

from challenge.class_names import class_order
from challenge.errors import SubmissionError
from challenge.images import from_uint8
from challenge.journal import JournalBatch, JournalWriter
from challenge.measures.image_sets import image_sets
from challenge.spec import CIFAR100, TINYIMAGENET, DatasetSpec
from challenge.submission import normalize

BOTH = (CIFAR100, TINYIMAGENET)


def plain(spec: DatasetSpec, per_class: int = 2) -> torch.Tensor:
    """Each image is as bright as its label says, the second of a class a little brighter."""
    labels = torch.arange(spec.num_classes).repeat_interleave(per_class)
    levels = labels + 20 * (torch.arange(len(labels)) % per_class)
    images = levels.to(torch.uint8)[:, None, None, None].expand(-1, *spec.image_shape).clone()
    images[:, 0, 0, 0] = 255  # not plain
    return images


def write_journal(folder: Path, spec: DatasetSpec) -> None:
    images = plain(spec)
    places = [(index // 2, index % 2, 0) for index in range(len(images))]
    with JournalWriter(folder / f"{spec.name}.journal", {}, spec.image_shape) as writer:
        writer.append(JournalBatch(places, images))


def test_a_run_folder_means_its_distinct_images(tmp_path: Path) -> None:
    write_journal(tmp_path, CIFAR100)
    (found,) = image_sets(tmp_path, BOTH)
    assert found.count == 200
    assert found.images.counts == (2,) * 100
    assert "distinct images" in found.what
    assert found.images.read(7, [1, 0])[:, 1, 5, 5].tolist() == [27, 7]


def test_a_file_gives_its_pixels_back_exactly(tmp_path: Path) -> None:
    images = plain(CIFAR100)
    torch.save(normalize(from_uint8(images), CIFAR100), tmp_path / "cifar100.pt")
    (found,) = image_sets(tmp_path / "cifar100.pt", BOTH)
    assert torch.equal(found.images.read(99, [0, 1]), images[-2:])
    assert "submission file" in found.what
    (same,) = image_sets(tmp_path, BOTH)  # a folder without a journal
    assert torch.equal(same.images.read(3, [0]), images[6:7])


def test_labels_beside_a_file_are_believed(tmp_path: Path) -> None:
    images = plain(CIFAR100, 1)
    torch.save(normalize(from_uint8(images), CIFAR100), tmp_path / "cifar100.pt")
    torch.save(torch.arange(99, -1, -1), tmp_path / "cifar100_labels.pt")
    (found,) = image_sets(tmp_path / "cifar100.pt", BOTH)
    assert found.images.read(99, [0])[0, 1, 5, 5] == 0


@pytest.mark.parametrize("order", ["sorted", "wnids-txt", None])
def test_classes_stand_in_sorted_order_whatever_the_file_says(
    order: str | None, tmp_path: Path
) -> None:
    write_journal(tmp_path, TINYIMAGENET)
    if order is not None:
        (tmp_path / "tinyimagenet.json").write_text(json.dumps({"label_order": order}))
    (found,) = image_sets(tmp_path, BOTH)
    label = found.images.read(11, [0])[0, 1, 5, 5]
    assert class_order("tinyimagenet", order or "sorted")[label] == 11  # type: ignore[arg-type]
    assert (found.note is None) == (order is not None)


def test_what_is_no_set_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="no journal and no submission of CIFAR-100"):
        image_sets(tmp_path, (CIFAR100,))
    torch.save(torch.zeros(3, 3), tmp_path / "odd.pt")
    with pytest.raises(SubmissionError, match="cannot be inspected"):
        image_sets(tmp_path / "odd.pt", BOTH)
    torch.save(normalize(from_uint8(plain(CIFAR100)), CIFAR100), tmp_path / "cifar100.pt")
    with pytest.raises(SubmissionError, match="--dataset cifar100"):
        image_sets(tmp_path / "cifar100.pt", (TINYIMAGENET,))
