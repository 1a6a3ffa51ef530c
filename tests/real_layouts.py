"""Small files in the public layouts of the real data sets, with made-up pixels."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR100 as TORCHVISION_CIFAR100

from challenge.class_names import OFFICIAL_CLASSES


def write_cifar_test(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images, whose checksums torchvision is told to expect."""
    folder = data_dir / "cifar-100-python"
    folder.mkdir()
    pixels = np.arange(4 * 3072, dtype=np.uint32).reshape(4, 3072).astype(np.uint8)
    test = pickle.dumps({"data": pixels, "fine_labels": [3, 0, 99, 3]})
    meta = pickle.dumps({"fine_label_names": [f"class {label}" for label in range(100)]})
    (folder / "test").write_bytes(test)
    (folder / "meta").write_bytes(meta)
    monkeypatch.setattr(
        TORCHVISION_CIFAR100, "test_list", [["test", hashlib.md5(test).hexdigest()]]
    )
    expected_meta = dict(TORCHVISION_CIFAR100.meta, md5=hashlib.md5(meta).hexdigest())
    monkeypatch.setattr(TORCHVISION_CIFAR100, "meta", expected_meta)


def write_cifar_train(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images of each class, of which every pixel is the label; the classes are mixed.

    The first pixel of red tells the three apart: 0, 100 or 200.
    """
    labels = [*range(100), *range(99, -1, -1), *range(100)]
    pixels = np.array(labels, dtype=np.uint8)[:, None].repeat(3072, axis=1)
    pixels[:, 0] = 100 * (np.arange(300) // 100)
    _write_train(data_dir, monkeypatch, pixels, labels)


def write_noisy_cifar_train(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, per_class: int = 8
) -> None:
    """Images of noise, so many of each class."""
    labels = [label for label in range(100) for _ in range(per_class)]
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    _write_train(data_dir, monkeypatch, pixels, labels)


def _write_train(
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    pixels: "np.ndarray[Any, Any]",
    labels: list[int],
) -> None:
    names = [f"found_by_{label}_s_{place:06}.png" for place, label in enumerate(labels)]
    names[0] = "manual-0.png"
    train = pickle.dumps({"data": pixels, "fine_labels": labels, "filenames": names})
    (data_dir / "cifar-100-python" / "train").write_bytes(train)
    md5 = hashlib.md5(train).hexdigest()
    monkeypatch.setattr(TORCHVISION_CIFAR100, "train_list", [["train", md5]])


def write_tiny_train(data_dir: Path) -> None:
    """One or two grey images a class, their brightness the place among the sorted wnids."""
    for place, official in enumerate(OFFICIAL_CLASSES["tinyimagenet"]):
        folder = data_dir / "tiny-imagenet-200" / "train" / str(official.wnid) / "images"
        folder.mkdir(parents=True)
        for index in range(1 + place % 2):
            Image.new("L", (64, 64), place).save(folder / f"{official.wnid}_{index}.JPEG")
