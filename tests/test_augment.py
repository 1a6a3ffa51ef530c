"""What ``upright`` does to an image, and that nothing but the image's own seed decides it."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from challenge.augment import PRESETS, Recipe, augment_images, draw_parameters
from challenge.settings import AugmentPreset

UPRIGHT = Recipe(zoom=(0.8, 1.2), shift=0.125, mirror_probability=0.5)
STILL = Recipe(zoom=(1.0, 1.0), shift=0.0, mirror_probability=0.0)


def noise_images(count: int, size: int = 32) -> Tensor:
    """``count`` different images in [0, 1]."""
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def dot_images(count: int, row: int, column: int, size: int = 32) -> Tensor:
    """Black images with one white 3x3 dot around (row, column)."""
    images = torch.zeros(count, 3, size, size)
    images[:, :, row - 1 : row + 2, column - 1 : column + 2] = 1.0
    return images


def square_images(count: int) -> Tensor:
    """Black images with a white 8x8 square in the middle that no shift brings to the edge."""
    images = torch.zeros(count, 3, 32, 32)
    images[:, :, 12:20, 12:20] = 1.0
    return images


def centres(images: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each image's centre of brightness."""
    weights = images.mean(dim=1)
    total = weights.sum(dim=(1, 2))
    position = torch.arange(images.shape[-1], dtype=weights.dtype)
    return weights.sum(dim=2) @ position / total, weights.sum(dim=1) @ position / total


def use_ranges(monkeypatch: pytest.MonkeyPatch, ranges: Recipe) -> None:
    monkeypatch.setitem(PRESETS, "upright", ranges)


def test_none_hands_the_images_back_unchanged() -> None:
    images = noise_images(3)
    assert augment_images(images, [1, 2, 3], "none") is images


def test_upright_has_the_measured_ranges() -> None:
    assert PRESETS["upright"] == UPRIGHT


@pytest.mark.parametrize("preset", ["none", "upright"])
def test_refuses_another_number_of_seeds_than_images(preset: AugmentPreset) -> None:
    with pytest.raises(ValueError, match="2 seeds for 3 images"):
        augment_images(noise_images(3), [1, 2], preset)


@pytest.mark.parametrize("size", [32, 64])
def test_an_image_does_not_depend_on_its_batch(size: int) -> None:
    images, seeds = noise_images(33, size), [2**62 + 7 * i for i in range(33)]
    whole = augment_images(images, seeds, "upright")
    alone = [augment_images(images[i : i + 1], seeds[i : i + 1], "upright") for i in range(33)]
    chunks = [
        augment_images(images[i : i + 7], seeds[i : i + 7], "upright") for i in range(0, 33, 7)
    ]
    assert torch.equal(whole, torch.cat(alone))
    assert torch.equal(whole, torch.cat(chunks))


def test_the_same_seed_gives_the_same_image_whatever_the_global_rng_does() -> None:
    images = noise_images(4)
    first = augment_images(images, [5, 6, 7, 8], "upright")
    torch.rand(3)
    assert torch.equal(first, augment_images(images, [5, 6, 7, 8], "upright"))


def test_leaves_the_global_rng_alone() -> None:
    before = torch.get_rng_state()
    augment_images(noise_images(4), [1, 2, 3, 4], "upright")
    assert torch.equal(before, torch.get_rng_state())


def test_another_seed_gives_another_image() -> None:
    variants = augment_images(noise_images(1).expand(8, -1, -1, -1), range(8), "upright")
    assert len({variant.numpy().tobytes() for variant in variants}) == 8


def test_does_not_change_its_input() -> None:
    images = noise_images(4)
    augment_images(images, range(4), "upright")
    assert torch.equal(images, noise_images(4))


def test_an_empty_batch_stays_empty() -> None:
    assert augment_images(torch.zeros(0, 3, 32, 32), [], "upright").shape == (0, 3, 32, 32)


@pytest.mark.parametrize("size", [32, 64])
def test_pixels_stay_between_0_and_1(size: int) -> None:
    images = torch.cat([torch.ones(200, 3, size, size), torch.zeros(200, 3, size, size)])
    result = augment_images(images, range(400), "upright")
    assert result.shape == images.shape
    assert result.dtype == torch.float32
    assert 0.0 <= result.min() <= result.max() <= 1.0
    assert torch.allclose(result, images, atol=1e-6)  # no dark frame comes in over the edge


def test_still_ranges_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    use_ranges(monkeypatch, STILL)
    images = noise_images(5)
    assert torch.allclose(augment_images(images, range(5), "upright"), images, atol=1e-6)


def test_mirror_flips_left_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    use_ranges(monkeypatch, Recipe(zoom=(1.0, 1.0), shift=0.0, mirror_probability=1.0))
    mirrored = augment_images(dot_images(2, row=5, column=7), [1, 2], "upright")
    assert torch.allclose(mirrored, dot_images(2, row=5, column=24), atol=1e-6)  # 31 - 7


def test_mirrors_some_images_of_a_batch_and_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_ranges(monkeypatch, Recipe(zoom=(1.0, 1.0), shift=0.0, mirror_probability=0.5))
    _, columns = centres(augment_images(dot_images(1000, row=5, column=7), range(1000), "upright"))
    # 1000 fair coins: 500 +- 5 standard deviations of 15.8
    assert 421 <= int((columns.round() == 24).sum()) <= 579
    assert set(columns.round().tolist()) == {7.0, 24.0}


@pytest.mark.parametrize(("size", "pixels"), [(32, 4.0), (64, 8.0)])
def test_shift_reaches_an_eighth_of_the_side_and_no_further(
    monkeypatch: pytest.MonkeyPatch, size: int, pixels: float
) -> None:
    use_ranges(monkeypatch, Recipe(zoom=(1.0, 1.0), shift=0.125, mirror_probability=0.0))
    images = dot_images(1000, row=size // 2, column=size // 2, size=size)
    for centre in centres(augment_images(images, range(1000), "upright")):
        way = centre - size // 2
        assert 0.95 * pixels < way.max() <= pixels + 1e-3
        assert -pixels - 1e-3 <= way.min() < -0.95 * pixels


def test_zoom_stays_within_its_bounds_and_keeps_the_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    use_ranges(monkeypatch, Recipe(zoom=(0.8, 1.2), shift=0.0, mirror_probability=0.0))
    square = torch.zeros(1000, 3, 64, 64)
    square[:, :, 22:42, 22:42] = 1.0  # 20x20, in the middle
    zoomed = augment_images(square, range(1000), "upright")
    sides = zoomed.mean(dim=1).sum(dim=(1, 2)).sqrt()
    assert 15.8 < sides.min() < 16.2  # 20 * 0.8
    assert 23.8 < sides.max() < 24.2  # 20 * 1.2
    for centre in centres(zoomed):
        assert torch.allclose(centre, torch.tensor(31.5), atol=1e-3)


def test_shifts_and_mirrors_leave_the_average_object_in_the_middle() -> None:
    moved = augment_images(square_images(2000), range(2000), "upright")
    for centre in centres(moved):
        # uniform in +-4 px: sd 2.3, so the mean of 2000 has sd 0.052; 5 sd
        assert abs(float(centre.mean()) - 15.5) < 0.26


def columns_of(seeds: Sequence[int]) -> Tensor:
    draws = draw_parameters(seeds, 32, UPRIGHT)
    return torch.cat([draws.zoom[:, None], draws.shift, draws.mirror[:, None]], dim=1)


def test_zoom_shift_and_mirror_are_drawn_independently() -> None:
    drawn = columns_of(range(5000))
    assert torch.allclose(drawn.mean(dim=0), torch.tensor([1.0, 0.0, 0.0, 0.5]), atol=0.17)
    off_diagonal = torch.corrcoef(drawn.T) - torch.eye(4)
    assert off_diagonal.abs().max() < 0.071  # 5 standard deviations of 1 / sqrt(5000)


def test_a_gpu_makes_the_same_images_as_the_cpu(gpu: torch.device) -> None:
    images = noise_images(16)
    on_gpu = augment_images(images.to(gpu), range(16), "upright")
    assert on_gpu.is_cuda
    assert torch.allclose(on_gpu.cpu(), augment_images(images, range(16), "upright"), atol=2e-3)


def test_banko_turns_four_of_five_images_upside_down_and_changes_their_light() -> None:
    recipe = PRESETS["banko"]
    assert recipe is not None
    draws = draw_parameters(range(4000), 32, recipe)
    assert abs(float(draws.upside_down.mean()) - 0.8) < 0.04
    assert abs(float(draws.mirror.mean()) - 0.8) < 0.04
    turned = draws.degrees != 0
    assert abs(float(turned.float().mean()) - 0.8) < 0.04
    assert 58 < float(draws.degrees.abs().max()) <= 60
    lit = (draws.contrast != 1) & (draws.brightness != 0)
    assert abs(float(lit.float().mean()) - 0.5) < 0.04
    assert 0.19 < float(draws.brightness.abs().max()) <= 0.2
    assert 0.19 < float((draws.contrast - 1).abs().max()) <= 0.2 + 1e-6
    assert abs(float((draws.gamma != 1).float().mean()) - 0.5) < 0.04
    assert not (draws.saturation != 1).any()


def test_flip_is_the_mirror_image_and_nothing_else() -> None:
    images = noise_images(3)
    assert torch.equal(augment_images(images, [1, 2, 3], "flip"), images.flip(3))


def test_upside_down_light_and_gamma_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    images = 0.2 + 0.5 * noise_images(2)
    use_ranges(monkeypatch, Recipe(upside_down_probability=1.0))
    assert torch.equal(augment_images(images, [1, 2], "upright"), images.flip(2))
    use_ranges(monkeypatch, Recipe(contrast=(1.1, 1.1), brightness=(0.1, 0.1)))
    expected = 1.1 * images + 0.1
    assert torch.allclose(augment_images(images, [1, 2], "upright"), expected, atol=1e-6)
    use_ranges(monkeypatch, Recipe(gamma=(1.2, 1.2)))
    assert torch.allclose(augment_images(images, [1, 2], "upright"), images**1.2, atol=1e-6)


def test_a_rotation_moves_a_dot_about_the_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    use_ranges(monkeypatch, Recipe(rotate_degrees=60.0))
    dots = dot_images(200, row=15, column=20)
    rows, columns = centres(augment_images(dots, range(200), "upright"))
    radius = ((rows - 15.5) ** 2 + (columns - 15.5) ** 2).sqrt()
    assert torch.allclose(radius, torch.tensor(4.528), atol=0.1)
    angle = torch.atan2(rows - 15.5, columns - 15.5).rad2deg()
    assert 48 < float(angle.max()) < 55  # the dot stands 6.3 degrees above the middle
    assert -68 < float(angle.min()) < -60
