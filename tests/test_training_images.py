from pathlib import Path

import pytest
import torch

from challenge.embedded_training.training_images import (
    labels_of,
    load_training_images,
    mirror_half,
    shift,
    to_signed,
)
from challenge.spec import CIFAR100
from challenge.train_images import TrainImages


class NumberedImages(TrainImages):
    """20 images of each class; the first pixel holds the class, the second the number."""

    counts = (20,) * 100

    def read(self, class_index: int, places: list[int]) -> torch.Tensor:
        images = torch.zeros(len(places), 3, 32, 32, dtype=torch.uint8)
        images[:, 0, 0, 0] = class_index
        images[:, 0, 0, 1] = torch.tensor(places)
        return images

    def search_terms(self, class_index: int, places: list[int]) -> list[str]:
        return [f"{class_index} {place}" for place in places]


def test_a_tenth_of_each_class_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainImages, "below", lambda spec, data_dir: NumberedImages())
    real = load_training_images(CIFAR100, Path("data"), seed=0)
    assert real.train.shape == (100, 18, 3, 32, 32)
    assert real.validation.shape == (100, 2, 3, 32, 32)
    for part in (real.train, real.validation):
        assert torch.equal(part.flatten(0, 1)[:, 0, 0, 0].long(), labels_of(part))
    for of_class, terms in zip(real.train, real.search_terms, strict=True):
        assert [f"{c} {n}" for c, n in of_class[:, 0, 0, :2].tolist()] == list(terms)
    numbers = torch.cat([real.train[0], real.validation[0]])[:, 0, 0, 1].tolist()
    assert sorted(numbers) == list(range(20))
    assert numbers != list(range(20))


def test_pixels_span_minus_one_to_one() -> None:
    pixels = torch.tensor([0, 255], dtype=torch.uint8).expand(1, 3, 1, 2)
    assert to_signed(pixels)[0].flatten().tolist() == [-1.0, 1.0] * 3


def test_about_half_of_the_images_are_mirrored() -> None:
    images = torch.zeros(400, 3, 4, 4, dtype=torch.uint8)
    images[..., 0] = 9
    mirrored = mirror_half(images, torch.Generator().manual_seed(0))
    left = mirrored[..., 0].amax(dim=(1, 2)) == 9
    right = mirrored[..., -1].amax(dim=(1, 2)) == 9
    assert torch.equal(left, ~right)
    assert 150 < int(right.sum()) < 250


def test_a_shift_moves_the_image_and_mirrors_the_border() -> None:
    images = torch.arange(8, dtype=torch.uint8).repeat(16, 3, 8, 1)
    shifted = shift(images, 2, torch.Generator().manual_seed(0))
    rows = {tuple(row) for row in shifted[:, 0, 0].tolist()}
    allowed = {
        tuple(abs(x + d) if x + d < 8 else 14 - x - d for x in range(8)) for d in range(-2, 3)
    }
    assert len(rows) > 1
    assert rows <= allowed
