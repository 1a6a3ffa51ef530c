import math
from pathlib import Path

import pytest
import torch
from conftest import FakeClock
from torch import Tensor

from challenge import packing
from challenge.augment import augment_images
from challenge.budget import PhaseTimer
from challenge.errors import TooLateError
from challenge.file_plan import FilePlan
from challenge.images import from_uint8
from challenge.packing import Packer
from challenge.seeds import derive_seed
from challenge.settings import AugmentPreset
from challenge.spec import CIFAR100, LOOKS
from challenge.submission import SubmissionWriter, normalize


class Images:
    """``bases`` random images of each class, one fewer of the last."""

    def __init__(self, bases: int) -> None:
        rng = torch.Generator().manual_seed(0)
        self.images = torch.randint(
            0, 256, (100, bases, 3, 32, 32), dtype=torch.uint8, generator=rng
        )

    def read_views(self, class_index: int, most: int | None = None) -> Tensor:
        images = self.images[class_index, :, None]
        return images[:-1] if class_index == 99 and len(images) > 1 else images[:most]


def pack(images: Images, ipc: int, path: Path, preset: AugmentPreset = "upright") -> Tensor:
    packer = Packer(CIFAR100, preset, 0, torch.device("cpu"), PhaseTimer(FakeClock(), ""))
    packer.write(images, FilePlan(ipc), path, math.inf)
    tensor = torch.load(path, weights_only=True)
    assert isinstance(tensor, Tensor)
    return tensor.view(100, ipc, 3, 32, 32)


def test_distinct_images_come_first_and_unchanged(tmp_path: Path) -> None:
    images = Images(3)
    tensor = pack(images, 5, tmp_path / "cifar100.pt")
    expected = normalize(from_uint8(images.images[7]), CIFAR100)
    assert torch.equal(tensor[7, :3], expected)


def test_a_variant_is_its_base_augmented_with_the_documented_seed(tmp_path: Path) -> None:
    images = Images(3)
    tensor = pack(images, 5, tmp_path / "cifar100.pt")
    seed = derive_seed(0, "cifar100", "variant", 7, 1, 1)
    variant = augment_images(from_uint8(images.images[7, 1:2]), [seed], "upright")
    assert torch.allclose(tensor[7, 4:5], normalize(variant, CIFAR100), atol=1e-5)


def test_a_class_short_of_one_image_is_filled_with_a_variant_of_its_first(tmp_path: Path) -> None:
    images = Images(3)
    tensor = pack(images, 3, tmp_path / "cifar100.pt")
    seed = derive_seed(0, "cifar100", "variant", 99, 0, 1)
    variant = augment_images(from_uint8(images.images[99, :1]), [seed], "upright")
    assert torch.allclose(tensor[99, 2:], normalize(variant, CIFAR100), atol=1e-5)


def test_the_file_does_not_depend_on_the_chunk_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = Images(2)
    large = pack(images, 6, tmp_path / "large.pt")
    monkeypatch.setattr(packing, "CHUNK_IMAGES", 7)
    assert torch.equal(pack(images, 6, tmp_path / "small.pt"), large)


def test_what_stood_before_is_kept_when_the_deadline_has_passed(tmp_path: Path) -> None:
    clock = FakeClock()
    packer = Packer(CIFAR100, "none", 0, torch.device("cpu"), PhaseTimer(clock, ""))
    path = tmp_path / "cifar100.pt"
    packer.write(Images(1), FilePlan(1), path, deadline_s=1.0)
    before = path.read_bytes()
    clock.advance(2.0)
    with pytest.raises(TooLateError, match="before the deadline"):
        packer.write(Images(2), FilePlan(1), path, deadline_s=1.0)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["cifar100.pt"]


def test_a_file_whose_sync_outlasts_the_deadline_is_not_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    packer = Packer(CIFAR100, "none", 0, torch.device("cpu"), PhaseTimer(clock, ""))
    path = tmp_path / "cifar100.pt"
    packer.write(Images(1), FilePlan(1), path, deadline_s=1.0)
    before = path.read_bytes()
    real = SubmissionWriter.sync

    def slow_sync(writer: SubmissionWriter) -> None:
        real(writer)
        clock.advance(0.95)  # within the second, but too near its end for the rename

    monkeypatch.setattr(SubmissionWriter, "sync", slow_sync)
    with pytest.raises(TooLateError, match="before the deadline"):
        packer.write(Images(2), FilePlan(1), path, deadline_s=1.0)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["cifar100.pt"]


def test_nothing_is_read_or_augmented_after_the_deadline(tmp_path: Path) -> None:
    class Unread(Images):
        def read_views(self, class_index: int, most: int | None = None) -> Tensor:
            raise AssertionError("read after the deadline")

    clock = FakeClock()
    clock.advance(2.0)
    packer = Packer(CIFAR100, "none", 0, torch.device("cpu"), PhaseTimer(clock, ""))
    with pytest.raises(TooLateError):
        packer.write(Unread(1), FilePlan(1), tmp_path / "cifar100.pt", deadline_s=1.0)


class Views(Images):
    """Two views of each picture: the image itself and its negative."""

    def read_views(self, class_index: int, most: int | None = None) -> Tensor:
        first = super().read_views(class_index, most)
        return torch.cat([first, 255 - first], dim=1)


def test_the_first_variants_are_the_other_views_then_come_augmented_ones(tmp_path: Path) -> None:
    tensor = pack(Views(2), 6, tmp_path / "cifar100.pt")
    bases = from_uint8(Views(2).images[7])
    assert torch.equal(tensor[7, :2], normalize(bases, CIFAR100))
    negatives = normalize(from_uint8(255 - Views(2).images[7]), CIFAR100)
    assert torch.equal(tensor[7, 2:4], negatives)
    seeds = [derive_seed(0, "cifar100", "variant", 7, base, 2) for base in range(2)]
    variants = normalize(augment_images(bases, seeds, "upright"), CIFAR100)
    assert torch.allclose(tensor[7, 4:], variants, atol=1e-5)


def test_colours_are_matched_over_the_whole_set_and_the_change_is_kept(tmp_path: Path) -> None:
    timer = PhaseTimer(FakeClock(), "")
    packer = Packer(CIFAR100, "none", 0, torch.device("cpu"), timer, match_colour=True)
    path = tmp_path / "cifar100.pt"
    packer.write(Images(2), FilePlan(1), path, math.inf)
    match = packer.colour
    assert match is not None
    assert match.real == LOOKS["cifar100"]
    images = torch.load(path, weights_only=True)[7:8]
    seed = derive_seed(0, "cifar100", "colour", 7, 0)
    expected = match.apply(from_uint8(Images(2).images[7, :1]), [seed])
    assert torch.allclose(images, normalize(expected, CIFAR100), atol=1e-5)
