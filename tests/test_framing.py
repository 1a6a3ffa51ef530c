"""Windows are drawn from their seeds, and cut out and shrunk as Pillow does it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from challenge.framing import FRAMINGS, Framing, Windows, cut_out, draw_windows
from challenge.settings import FramingPreset
from challenge.spec import ShrinkFilter

PILLOW: dict[ShrinkFilter, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def noise_images(count: int, size: int) -> Tensor:
    """``count`` different pictures, their values far enough from 0 and 1 not to be clamped."""
    rng = torch.Generator().manual_seed(0)
    return 0.3 + 0.4 * torch.rand(count, 3, size, size, generator=rng)


def pillow(image: Tensor, box: Tensor, size: int, shrink_filter: ShrinkFilter) -> Tensor:
    """The same by Pillow, channel by channel in float."""
    channels = [
        Image.fromarray(channel.numpy()).resize(
            (size, size), PILLOW[shrink_filter], box=tuple(box.tolist())
        )
        for channel in image
    ]
    return torch.from_numpy(np.stack([np.asarray(channel) for channel in channels]))


@pytest.mark.parametrize("shrink_filter", list(PILLOW))
@pytest.mark.parametrize(("picture", "size"), [(512, 32), (96, 64), (64, 32), (24, 32)])
def test_a_window_is_shrunk_as_pillow_does_it(
    shrink_filter: ShrinkFilter, picture: int, size: int
) -> None:
    images = noise_images(3, picture)
    windows = draw_windows([1, 2, 3], picture, Framing(side=(0.5, 0.9), shift=0.2))
    cut = cut_out(images, windows, size, shrink_filter)
    for ours, image, box in zip(cut, images, windows.boxes, strict=True):
        expected = pillow(image, box, size, shrink_filter)
        if shrink_filter == "box":  # a pixel on the filter's edge falls to one side or the other
            assert ((ours - expected).abs() < 2e-6).float().mean() > 0.9
        else:
            torch.testing.assert_close(ours, expected, atol=2e-5, rtol=0)


def test_a_mirrored_window_is_the_window_of_the_mirrored_picture() -> None:
    images = noise_images(2, 64)
    boxes = torch.tensor([[4.0, 8.0, 44.0, 48.0]]).expand(2, 4)
    cut = cut_out(images, Windows(boxes, torch.tensor([True, False])), 32, "bilinear")
    plain = cut_out(images, Windows(boxes, torch.tensor([False, False])), 32, "bilinear")
    torch.testing.assert_close(cut[0], plain[0].flip(2))
    assert torch.equal(cut[1], plain[1])


@pytest.mark.parametrize("shrink_filter", ["bilinear", "box", "bicubic", "lanczos"])
def test_a_whole_picture_of_the_right_size_stays_as_it_is(shrink_filter: ShrinkFilter) -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    cut = cut_out(images, Windows.whole(images), 32, shrink_filter)
    torch.testing.assert_close(cut, images, atol=2e-6, rtol=0)


@pytest.mark.parametrize("preset", list(FRAMINGS))
def test_windows_lie_within_their_pictures_and_are_square(preset: FramingPreset) -> None:
    framing = FRAMINGS[preset]
    boxes = draw_windows(range(2000), 512, framing).boxes
    assert float(boxes.min()) >= -1e-3
    assert float(boxes.max()) <= 512 + 1e-3
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    torch.testing.assert_close(width, height, atol=1e-3, rtol=0)
    smallest, largest = framing.side
    assert float(width.min()) >= smallest * 512 - 1e-3
    assert float(width.max()) <= largest * 512 + 1e-3


def test_centres_stay_within_the_shift() -> None:
    boxes = draw_windows(range(2000), 100, FRAMINGS["tight"]).boxes
    for first, second in ((0, 2), (1, 3)):
        centre = (boxes[:, first] + boxes[:, second]) / 2 - 50
        assert 11.0 < float(centre.abs().max()) <= 12.001


def test_half_of_the_windows_are_mirrored() -> None:
    mirrored = draw_windows(range(2000), 64, FRAMINGS["tight"]).mirrored
    assert 888 <= int(mirrored.sum()) <= 1112  # 5 standard deviations of 22.4


def test_a_window_depends_on_its_seed_alone() -> None:
    together = draw_windows([5, 6, 7], 64, FRAMINGS["wide"])
    alone = draw_windows([6], 64, FRAMINGS["wide"])
    assert torch.equal(together.boxes[1:2], alone.boxes)
    assert len({tuple(box) for box in together.boxes.tolist()}) == 3
