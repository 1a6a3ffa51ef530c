from pathlib import Path

import pytest
import torch
from real_layouts import write_tiny_train

from challenge.errors import DataError
from challenge.spec import CIFAR100, TINYIMAGENET
from challenge.train_images import TrainImages, load_train_images


def test_training_images_come_class_by_class_each_at_most_once(cifar_train_dir: Path) -> None:
    images = load_train_images(CIFAR100, cifar_train_dir, per_class=2, seed=0)
    assert images.dtype == torch.uint8
    assert images.shape == (200, 3, 32, 32)
    assert images[:, 2, 31, 31].tolist() == [label for label in range(100) for _ in range(2)]
    copies = images[:, 0, 0, 0].view(100, 2)  # the first pixel tells the three images apart
    assert bool((copies[:, 0] != copies[:, 1]).all())
    assert set(copies.flatten().tolist()) == {0, 100, 200}


def test_training_images_depend_on_the_seed(cifar_train_dir: Path) -> None:
    first, again, other = (
        load_train_images(CIFAR100, cifar_train_dir, per_class=1, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_more_training_images_than_there_are_means_all(cifar_train_dir: Path) -> None:
    assert len(load_train_images(CIFAR100, cifar_train_dir, per_class=500, seed=0)) == 300


def test_tiny_training_images_come_in_the_order_of_sorted_wnids(tmp_path: Path) -> None:
    write_tiny_train(tmp_path)
    images = load_train_images(TINYIMAGENET, tmp_path, per_class=2, seed=0)
    assert images.shape == (200, 3, 64, 64)  # the smallest class has one
    assert images[:, 0, 0, 0].tolist() == list(range(200))
    next((tmp_path / "tiny-imagenet-200" / "train").glob("n01443537/images/*")).unlink()
    with pytest.raises(DataError, match=r"no image in .*n01443537"):
        load_train_images(TINYIMAGENET, tmp_path, per_class=1, seed=0)


def test_what_images_were_found_by_is_told_where_the_data_set_tells(
    cifar_train_dir: Path, tmp_path: Path
) -> None:
    cifar100 = TrainImages.below(CIFAR100, cifar_train_dir)
    assert cifar100.search_terms(7, [2, 0]) == ["found by 7"] * 2
    assert cifar100.search_terms(0, [0, 1, 2]) == ["", "found by 0", "found by 0"]
    write_tiny_train(tmp_path)
    assert TrainImages.below(TINYIMAGENET, tmp_path).search_terms(1, [0, 1]) == ["", ""]


def test_missing_training_images_are_told(cifar_dir: Path) -> None:
    with pytest.raises(DataError, match=r"no cifar-100-python/ in .*/nowhere; give the folder"):
        load_train_images(CIFAR100, cifar_dir / "nowhere", per_class=1, seed=0)
    with pytest.raises(DataError, match="'train' or 'meta' is missing"):
        load_train_images(CIFAR100, cifar_dir, per_class=1, seed=0)
    with pytest.raises(ValueError, match="per_class is 0"):
        load_train_images(CIFAR100, cifar_dir, per_class=0, seed=0)
