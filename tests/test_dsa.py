import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from challenge.evaluation import dsa
from challenge.spec import DSA_STRATEGIES

MANY = 20_000


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    """The official operations' results on two images of noise; made with the official code."""
    with np.load(Path(__file__).parent / "data" / "reference_evaluator_32.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.mark.parametrize(
    ("operation", "parameters", "expected"),
    [
        (dsa.brightness, ["brightness32.offset"], "brightness32.y"),
        (dsa.saturation, ["saturation32.factor"], "saturation32.y"),
        (dsa.contrast, ["contrast32.factor"], "contrast32.y"),
        (dsa.crop, ["crop32.shift_row", "crop32.shift_col"], "crop32.y"),
        (dsa.cutout, ["cutout32.center_row", "cutout32.center_col"], "cutout32.y"),
        (dsa.flip, ["flip32.flipped"], "flip32.y"),
        (dsa.scale, ["scale32.x", "scale32.along_y"], "scale32.y"),
        (dsa.rotate, ["rotate32.radians"], "rotate32.y"),
    ],
)
def test_each_operation_gives_the_official_result(
    golden: dict[str, Tensor],
    operation: Callable[..., Tensor],
    parameters: list[str],
    expected: str,
) -> None:
    images = golden["x32"][golden["kept"]]
    result = operation(images, *(golden[name] for name in parameters))
    torch.testing.assert_close(result, golden[expected], atol=2e-5, rtol=0)


@pytest.mark.parametrize("strategy", DSA_STRATEGIES)
def test_each_image_of_a_batch_gets_its_own_parameters(strategy: str) -> None:
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    copies = image.expand(16, 3, 64, 64)
    augmented = dsa.apply_strategy(strategy, copies, torch.Generator().manual_seed(4))
    assert augmented.shape == copies.shape
    assert any(not torch.equal(other, augmented[0]) for other in augmented[1:])


def test_crop_shows_the_image_moved_and_zeros_beside_it() -> None:
    images = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    moved = dsa.crop(images, torch.tensor([1]), torch.tensor([-2]))
    expected = torch.tensor([[0, 0, 4, 5], [0, 0, 8, 9], [0, 0, 12, 13], [0, 0, 0, 0.0]])
    assert torch.equal(moved[0, 2], expected)


def test_cutout_loses_what_reaches_over_the_edge() -> None:
    cut = dsa.cutout(torch.ones(2, 3, 4, 4), torch.tensor([0, 4]), torch.tensor([2, 2]))
    above = torch.tensor([[1, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1.0]])
    assert torch.equal(cut[0, 0], above)  # rows -1 and 0, columns 1 and 2
    assert torch.equal(cut[1, 0], above.flip(0))  # rows 3 and 4


def test_scale_above_one_makes_the_picture_smaller() -> None:
    images = torch.ones(1, 3, 32, 32)
    smaller = dsa.scale(images, torch.tensor([2.0]), torch.tensor([1.0]))
    assert torch.equal(smaller[0, 0, 16, 8:24], torch.ones(16))
    assert torch.equal(smaller[0, 0, 16, :7], torch.zeros(7))


def test_rotate_turns_anticlockwise() -> None:
    images = torch.zeros(1, 3, 5, 5)
    images[:, :, 2, 4] = 1.0  # right
    turned = dsa.rotate(images, torch.tensor([math.pi / 2]))
    assert float(turned[0, 0, 0, 2]) == pytest.approx(1.0, abs=1e-5)  # up


@pytest.mark.parametrize(
    ("draw", "least", "most"),
    [
        (dsa.draw_brightness, -0.5, 0.5),
        (dsa.draw_saturation, 0.0, 2.0),
        (dsa.draw_contrast, 0.5, 1.5),
        (lambda count, rng: dsa.draw_scale(count, rng)[0], 1 / 1.2, 1.2),
        (lambda count, rng: dsa.draw_scale(count, rng)[1], 1 / 1.2, 1.2),
        (dsa.draw_rotate, -math.pi / 12, math.pi / 12),
    ],
    ids=["brightness", "saturation", "contrast", "scale_x", "scale_y", "rotate"],
)
def test_real_valued_parameters_fill_their_range_evenly(
    draw: Callable[[int, torch.Generator], Tensor], least: float, most: float
) -> None:
    values = draw(MANY, torch.Generator().manual_seed(0))
    span = most - least
    assert least <= float(values.min()) < least + span / 100
    assert most - span / 100 < float(values.max()) <= most
    assert float(values.mean()) == pytest.approx((least + most) / 2, abs=span / 100)


@pytest.mark.parametrize(
    ("draw", "size", "expected"),
    [
        (dsa.draw_crop, 32, range(-4, 5)),
        (dsa.draw_crop, 64, range(-8, 9)),
        (dsa.draw_cutout, 32, range(33)),  # an even square: its centre may be just over the edge
        (dsa.draw_cutout, 6, range(6)),  # an odd one: may not
    ],
)
def test_places_are_drawn_from_the_official_range(
    draw: Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]], size: int, expected: range
) -> None:
    rows, cols = draw(MANY, size, torch.Generator().manual_seed(0))
    assert set(rows.tolist()) == set(expected)
    assert set(cols.tolist()) == set(expected)
    assert not torch.equal(rows, cols)


def test_half_of_the_images_are_flipped() -> None:
    share = dsa.draw_flip(MANY, torch.Generator().manual_seed(0)).double().mean()
    assert float(share) == pytest.approx(0.5, abs=0.02)


def test_the_two_scales_are_independent() -> None:
    scale_x, scale_y = dsa.draw_scale(MANY, torch.Generator().manual_seed(0))
    correlation = torch.corrcoef(torch.stack([scale_x, scale_y]))[0, 1]
    assert abs(float(correlation)) < 0.05


def test_a_batch_gets_one_strategy_and_all_six_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(strategy: str, images: Tensor, rng: torch.Generator) -> Tensor:
        asked.append(strategy)
        return images

    monkeypatch.setattr(dsa, "apply_strategy", note)
    rng = torch.Generator().manual_seed(0)
    strategies = random.Random(0)
    batch = torch.zeros(4, 3, 8, 8)
    for _ in range(600):
        dsa.augment_batch(batch, rng, strategies)
    assert len(asked) == 600
    for strategy in DSA_STRATEGIES:
        assert 70 <= asked.count(strategy) <= 130  # 100 expected, 3.3 standard deviations


def test_color_is_brightness_then_saturation_then_contrast() -> None:
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    rng = torch.Generator().manual_seed(2)
    offset, saturation, contrast = torch.rand(3, 5, generator=rng).unbind()
    expected = images + (offset - 0.5)[:, None, None, None]
    grey = expected.mean(dim=1, keepdim=True)
    expected = grey + (expected - grey) * (2 * saturation)[:, None, None, None]
    mean = expected.mean(dim=(1, 2, 3), keepdim=True)
    expected = mean + (expected - mean) * (contrast + 0.5)[:, None, None, None]
    result = dsa.apply_strategy("color", images, torch.Generator().manual_seed(2))
    torch.testing.assert_close(result, expected)


def test_the_same_rng_gives_the_same_batch() -> None:
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    first, second = (
        [dsa.augment_batch(images, rng, strategies) for _ in range(8)]
        for rng, strategies in (
            (torch.Generator().manual_seed(7), random.Random(7)) for _ in range(2)
        )
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(ValueError, match="no DSA strategy 'noise'; there are color, crop"):
        dsa.apply_strategy("noise", torch.zeros(1, 3, 4, 4), torch.Generator())
