import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageChops

from challenge.images import contact_sheet, from_uint8, shrink, to_uint8


def test_shrink_averages_each_block_of_pixels_as_a_triangle_filter_does() -> None:
    # rows of 0 and 1: halving weighs four neighbours 1/8, 3/8, 3/8, 1/8 inside the image
    stripes = torch.zeros(1, 3, 8, 8)
    stripes[:, :, 4:] = 1.0
    small = shrink(stripes, 4)
    assert small.shape == (1, 3, 4, 4)
    expected = torch.tensor([0.0, 1 / 8, 7 / 8, 1.0])
    torch.testing.assert_close(small[0, 0, :, 0], expected)


def test_shrink_does_not_alias_a_checkerboard() -> None:
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    board = ((rows + columns) % 2).float().expand(1, 3, 64, 64)
    inner = shrink(board, 16)[:, :, 2:-2, 2:-2]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5), atol=1e-5, rtol=0)


def test_shrink_returns_images_of_the_right_size_as_they_are() -> None:
    images = torch.rand(2, 3, 32, 32)
    assert shrink(images, 32) is images


@given(seed=st.integers(0, 2**32), size=st.sampled_from([32, 64]))
def test_shrink_stays_within_the_range_of_its_input(seed: int, size: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    images = torch.rand(1, 3, 96, 96, generator=rng).round()
    small = shrink(images, size)
    assert float(small.min()) >= -1e-6
    assert float(small.max()) <= 1 + 1e-6


def test_every_level_survives_the_way_to_float_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    floats = from_uint8(levels)
    assert floats.dtype == torch.float32
    assert (float(floats.min()), float(floats.max())) == (0.0, 1.0)
    assert torch.equal(to_uint8(floats), levels)


def test_to_uint8_rounds_to_the_nearest_level_and_clamps() -> None:
    levels = torch.tensor([-0.5, 0.49, 0.51, 127.4, 127.6, 254.51, 300.0])
    images = (levels / 255).expand(1, 3, 1, 7)
    assert to_uint8(images)[0, 0, 0].tolist() == [0, 0, 1, 127, 128, 255, 255]


def test_to_uint8_rounds_half_precision_without_losing_a_level() -> None:
    levels = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    assert torch.equal(to_uint8(from_uint8(levels).half()), levels)


def solid(count: int, size: int, colour: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1).repeat(count, 1, size, size)


def test_contact_sheet_shows_each_row_at_its_place_and_enlarges_without_smoothing() -> None:
    board = solid(1, 32, (0, 0, 0))
    board[:, :, ::2, ::2] = 255
    sheet = contact_sheet([("red", solid(3, 32, (255, 0, 0))), ("dots", board)])
    width, height = sheet.size
    assert sheet.getpixel((width - 10, height // 4)) == (255, 0, 0)
    first_image = sheet.crop((190, height // 2 + 3, 190 + 128, height // 2 + 3 + 120))
    colours = first_image.getcolors() or []
    assert {colour for _, colour in colours} == {(0, 0, 0), (255, 255, 255)}


def test_contact_sheet_writes_the_name_left_of_its_row_only() -> None:
    named = contact_sheet([("otter", solid(1, 32, (9, 9, 9))), ("", solid(1, 32, (9, 9, 9)))])
    nameless = contact_sheet([("", solid(1, 32, (9, 9, 9))), ("", solid(1, 32, (9, 9, 9)))])
    left, top, right, bottom = ImageChops.difference(named, nameless).getbbox() or (0, 0, 0, 0)
    assert 0 < left < right < 190
    assert 0 < top < bottom < named.height // 2


def test_contact_sheet_takes_rows_of_both_data_sets_and_of_unequal_length() -> None:
    rows = [("castle", solid(4, 32, (0, 200, 0))), ("lifeboat", solid(2, 64, (0, 0, 200)))]
    sheet = contact_sheet(rows)
    assert sheet.size == (190 + 4 * 130, 2 + 2 * 130)
    assert sheet.getpixel((190 + 5, 130 + 10)) == (0, 0, 200)


def test_a_very_long_name_stays_within_its_label() -> None:
    long_name = "African hunting dog, hyena dog, Cape hunting dog, Lycaon pictus " * 3
    row = solid(1, 32, (0, 0, 0))
    sheet = contact_sheet([(long_name, row)])
    black_picture = sheet.crop((190, 2, 190 + 128, 130))
    assert black_picture.getextrema() == ((0, 0), (0, 0), (0, 0))
    assert sheet.size == contact_sheet([("", row)]).size
    margin_beside_the_picture = sheet.crop((180, 0, 190, sheet.height))
    assert margin_beside_the_picture.getextrema() == ((20, 20), (20, 20), (22, 22))


def test_contact_sheet_without_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([])
