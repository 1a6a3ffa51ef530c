import pytest
import torch

from challenge.measures.pictures import PictureStatistics


def one(pixels: torch.Tensor) -> dict[str, float]:
    return PictureStatistics.of(pixels[None].to(torch.uint8)).summary()


def test_a_black_and_white_image_has_no_saturation() -> None:
    ramp = torch.arange(32).mul(8).expand(3, 32, 32)
    found = one(ramp)
    assert found["saturation"] < 1e-4
    assert found["grey_share"] == 1
    assert found["red_over_green"] == pytest.approx(1)
    assert found["brightness"] == pytest.approx(124 / 255, abs=1e-6)
    # the deviation of 0, 8, ... 248
    assert found["contrast"] == pytest.approx(8 * ((32**2 - 1) / 12) ** 0.5 / 255, rel=1e-5)


def test_a_red_image_is_saturated_and_out_of_balance() -> None:
    red = torch.zeros(3, 32, 32)
    red[0], red[1], red[2] = 200, 100, 50
    found = one(red)
    luma = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    chroma = (((200 - luma) ** 2 + (100 - luma) ** 2 + (50 - luma) ** 2) / 3) ** 0.5 / 255
    assert found["saturation"] == pytest.approx(chroma / 1e-3, rel=1e-4)  # no contrast: the floor
    assert found["grey_share"] == 0
    assert found["red_over_green"] == pytest.approx(2)
    assert found["blue_over_green"] == pytest.approx(0.5)


@pytest.mark.parametrize(("period", "share"), [(2, 1.0), (16, 0.0)])
def test_sharpness_is_the_power_of_fine_waves(period: int, share: float) -> None:
    columns = torch.arange(32)
    wave = 127 + 100 * torch.cos(2 * torch.pi * columns / period)
    assert one(wave.expand(3, 32, 32))["sharpness"] == pytest.approx(share, abs=1e-3)


def test_sharpness_weighs_both_halves_of_the_spectrum_alike() -> None:
    place = torch.arange(32)
    fine = torch.cos(2 * torch.pi * place / 2)  # its power is all in one coefficient
    coarse = torch.cos(2 * torch.pi * place / 16)  # split on a frequency and its negative
    # the power of cos at the highest frequency is 1, of another 1/2
    assert one((127 + 50 * fine + 50 * coarse).round().expand(3, 32, 32))[
        "sharpness"
    ] == pytest.approx(2 / 3, abs=0.01)


def test_groups_join_in_order() -> None:
    images = torch.randint(0, 256, (6, 3, 16, 16)).to(torch.uint8)
    parts = [PictureStatistics.of(images[:2]), PictureStatistics.of(images[2:])]
    joined = PictureStatistics.concat(parts)
    assert torch.allclose(joined.sharpness, PictureStatistics.of(images).sharpness)
