import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from challenge.class_names import OFFICIAL_CLASSES, class_order
from challenge.datasets import load_test_set
from challenge.errors import DataError
from challenge.spec import CIFAR100, DATASETS, TINYIMAGENET, DatasetSpec, LabelOrder

TINY_CLASSES = OFFICIAL_CLASSES["tinyimagenet"]


@pytest.fixture
def tiny_dir(tmp_path: Path) -> Path:
    """Three validation images, one of them grey, of classes 5, 0 and 199 in sorted order."""
    images = tmp_path / "tiny-imagenet-200" / "val" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (64, 64), (255, 0, 0)).save(images / "val_0.JPEG", quality=100)
    Image.new("L", (64, 64), 128).save(images / "val_1.JPEG")
    Image.new("RGB", (64, 64), (0, 0, 255)).save(images / "val_2.JPEG", quality=100)
    rows = [
        f"val_{index}.JPEG\t{TINY_CLASSES[place].wnid}\t0\t0\t63\t63\n"
        for index, place in enumerate((5, 0, 199))
    ]
    (images.parent / "val_annotations.txt").write_text("".join(rows))
    return tmp_path


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def write_official(folder: Path, spec: DatasetSpec, **changes: object) -> Path:
    rng = torch.Generator().manual_seed(0)
    content: dict[str, object] = {
        "images_val": torch.randn(5, *spec.image_shape, generator=rng),
        "labels_val": torch.tensor([4, 0, spec.num_classes - 1, 1, 1]),
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{spec.name}_test.pt"
    torch.save(content | changes, path)
    return path


def test_cifar_images_are_channels_first_and_normalised(cifar_dir: Path) -> None:
    found = load_test_set(CIFAR100, cifar_dir)
    assert found.images.shape == (4, 3, 32, 32)
    assert found.labels.tolist() == [3, 0, 99, 3]
    # row 1, column 2 of image 0's green plane is byte 1024 + 32 + 2, which holds 34 (mod 256)
    expected = (34 / 255 - 0.4866) / 0.2564
    assert float(found.images[0, 1, 1, 2]) == pytest.approx(expected, abs=1e-6)


def test_cifar_needs_no_training_file_and_keeps_its_order_of_labels(cifar_dir: Path) -> None:
    found = load_test_set(CIFAR100, cifar_dir)
    assert not (cifar_dir / "cifar-100-python" / "train").exists()
    assert torch.equal(found.labels_in("sorted"), found.labels)
    assert torch.equal(found.labels_in("wnids-txt"), found.labels)


@pytest.mark.parametrize("name", ["test", "meta"])
def test_a_damaged_cifar_file_is_told_in_one_line(cifar_dir: Path, name: str) -> None:
    path = cifar_dir / "cifar-100-python" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"cifar-100-python.*md5") as caught:
        load_test_set(CIFAR100, cifar_dir)
    assert "\n" not in str(caught.value)


def test_tiny_images_are_decoded_in_the_order_of_the_annotations(tiny_dir: Path) -> None:
    found = load_test_set(TINYIMAGENET, tiny_dir)
    assert found.images.shape == (3, 3, 64, 64)
    assert found.images.dtype == torch.float32
    assert found.labels.tolist() == [5, 0, 199]
    mean, std = torch.tensor(TINYIMAGENET.mean), torch.tensor(TINYIMAGENET.std)
    colours = found.images.mean(dim=(2, 3)) * std + mean
    expected = torch.tensor([[1, 0, 0], [128 / 255] * 3, [0, 0, 1.0]])
    torch.testing.assert_close(colours, expected, atol=0.01, rtol=0)


def test_tiny_labels_follow_the_order_of_the_submission(tiny_dir: Path) -> None:
    found = load_test_set(TINYIMAGENET, tiny_dir)
    raw_order = [TINY_CLASSES[place].wnid for place in class_order("tinyimagenet", "wnids-txt")]
    expected = [raw_order.index(TINY_CLASSES[place].wnid) for place in (5, 0, 199)]
    assert raw_order[:2] == ["n02124075", "n04067472"]  # the head of the public wnids.txt
    assert found.labels_in("wnids-txt").tolist() == expected
    assert found.labels_in("sorted").tolist() == [5, 0, 199]


def test_a_cut_image_is_named(tiny_dir: Path) -> None:
    path = tiny_dir / "tiny-imagenet-200" / "val" / "images" / "val_1.JPEG"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"val_1\.JPEG is missing or damaged"):
        load_test_set(TINYIMAGENET, tiny_dir)


def test_a_missing_image_is_named(tiny_dir: Path) -> None:
    (tiny_dir / "tiny-imagenet-200" / "val" / "images" / "val_2.JPEG").unlink()
    with pytest.raises(DataError, match=r"val_2\.JPEG is missing or damaged"):
        load_test_set(TINYIMAGENET, tiny_dir)


def test_an_image_of_another_size_is_named(tiny_dir: Path) -> None:
    path = tiny_dir / "tiny-imagenet-200" / "val" / "images" / "val_0.JPEG"
    Image.new("RGB", (32, 48)).save(path)
    with pytest.raises(DataError, match=r"val_0\.JPEG is 32x48 pixels, expected 64x64"):
        load_test_set(TINYIMAGENET, tiny_dir)


@pytest.mark.parametrize("content", ["val_0.JPEG\tn99999999\t0\t0\t1\t1\n", "val_0.JPEG\n"])
def test_annotations_that_say_nothing_are_an_error(tiny_dir: Path, content: str) -> None:
    (tiny_dir / "tiny-imagenet-200" / "val" / "val_annotations.txt").write_text(content)
    with pytest.raises(DataError, match=r"val_annotations\.txt is missing or damaged"):
        load_test_set(TINYIMAGENET, tiny_dir)


def test_an_image_that_is_named_twice_is_told(tiny_dir: Path) -> None:
    table = tiny_dir / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    first, second, _ = table.read_text().splitlines(keepends=True)
    table.write_text(first + first + second)
    with pytest.raises(DataError, match="names 2 images, 1 of them twice, val/images holds 3"):
        load_test_set(TINYIMAGENET, tiny_dir)


@pytest.mark.parametrize("kept", [0, 2])
def test_cut_annotations_are_told_by_the_images_they_do_not_name(tiny_dir: Path, kept: int) -> None:
    table = tiny_dir / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:kept]))
    with pytest.raises(DataError, match=f"names {kept} images, val/images holds 3"):
        load_test_set(TINYIMAGENET, tiny_dir)


def test_a_folder_without_images_and_annotations_is_an_error(tiny_dir: Path) -> None:
    folder = tiny_dir / "tiny-imagenet-200" / "val"
    (folder / "val_annotations.txt").write_text("")
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="names 0 images, val/images holds 0"):
        load_test_set(TINYIMAGENET, tiny_dir)


@pytest.mark.parametrize("spec", DATASETS.values(), ids=DATASETS.keys())
@pytest.mark.parametrize("folder", ["", "reference_data"])
def test_the_official_file_is_taken_as_it_is(
    tmp_path: Path, spec: DatasetSpec, folder: str
) -> None:
    path = write_official(tmp_path / folder, spec)
    found = load_test_set(spec, tmp_path)
    assert found.source == path
    assert found.labels.tolist() == [4, 0, spec.num_classes - 1, 1, 1]
    expected = torch.randn(5, *spec.image_shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found.images, expected)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"images_val": torch.zeros(5, 3, 64, 64)}, r"shape \(5, 3, 64, 64\), expected \(5, 3, 32"),
        ({"images_val": torch.zeros(4, 3, 32, 32)}, r"shape \(4, 3, 32, 32\), expected \(5, 3"),
        ({"labels_val": torch.tensor([0, 1, 2, 3, 100])}, "runs from 0 to 100, expected 0 to 99"),
        ({"labels_val": torch.tensor([-1, 1, 2, 3, 4])}, "runs from -1 to 4, expected 0 to 99"),
        ({"labels_val": torch.zeros(5, 2)}, "images_val|labels_val"),
        ({"labels_val": "five"}, "no images_val and labels_val"),
    ],
)
def test_an_official_file_with_other_content_is_an_error(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    write_official(tmp_path, CIFAR100, **changes)
    with pytest.raises(DataError, match=told):
        load_test_set(CIFAR100, tmp_path)


@pytest.mark.parametrize("kept", [0, 10, 5000, -30])
def test_a_cut_official_file_is_an_error(tmp_path: Path, kept: int) -> None:
    path = write_official(tmp_path, CIFAR100)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"cifar100_test\.pt: .*get it again"):
        load_test_set(CIFAR100, tmp_path)


@pytest.mark.parametrize(
    "content", [b"<html>not found</html>", pickle.dumps([1], protocol=2), b"PK"]
)
def test_a_file_of_another_kind_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cifar100_test.pt").write_bytes(content)
    with pytest.raises(DataError, match=r"cifar100_test\.pt: .*get it again") as caught:
        load_test_set(CIFAR100, tmp_path)
    assert "\n" not in str(caught.value)


def test_code_in_an_official_file_is_not_run(tmp_path: Path) -> None:
    write_official(tmp_path, CIFAR100, labels_val=Trap(tmp_path / "sprung"))
    with pytest.raises(DataError, match="no images_val and labels_val"):
        load_test_set(CIFAR100, tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("spec", "folder", "file"),
    [
        (CIFAR100, "cifar-100-python", "cifar100_test.pt"),
        (TINYIMAGENET, "tiny-imagenet-200", "tinyimagenet_test.pt"),
    ],
)
def test_missing_data_is_told_with_what_is_expected_where(
    tmp_path: Path, spec: DatasetSpec, folder: str, file: str
) -> None:
    with pytest.raises(DataError, match=f"{folder}.*{file}"):
        load_test_set(spec, tmp_path)


@pytest.mark.parametrize("order", ["sorted", "wnids-txt"])
def test_the_order_of_an_official_tiny_file_is_found_by_its_images(
    tmp_path: Path, order: LabelOrder
) -> None:
    images = tmp_path / "tiny-imagenet-200" / "val" / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for place, official in enumerate(TINY_CLASSES):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels).save(images / f"val_{place}.JPEG")
        rows.append(f"val_{place}.JPEG\t{official.wnid}\t0\t0\t63\t63\n")
    (images.parent / "val_annotations.txt").write_text("".join(rows))
    known = load_test_set(TINYIMAGENET, tmp_path)
    labels = known.labels_in(order)
    write_official(tmp_path, TINYIMAGENET, images_val=known.images, labels_val=labels)

    found = load_test_set(TINYIMAGENET, tmp_path)

    assert found.source.name == "tinyimagenet_test.pt"
    assert torch.equal(found.labels, known.labels)
    title = "sorted wnids" if order == "sorted" else "the raw order of wnids.txt"
    assert f"is {title}, found by matching" in str(found.note)
    write_official(tmp_path, TINYIMAGENET)  # noise
    assert "could not be found" in str(load_test_set(TINYIMAGENET, tmp_path).note)


def test_an_official_tiny_file_alone_is_taken_to_be_sorted(tmp_path: Path) -> None:
    write_official(tmp_path, TINYIMAGENET)
    found = load_test_set(TINYIMAGENET, tmp_path)
    assert found.labels.tolist() == [4, 0, 199, 1, 1]
    assert "taken to be sorted wnids" in str(found.note)
