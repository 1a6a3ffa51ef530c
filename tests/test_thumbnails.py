"""Pictures become thumbnails: judged, framed by their own seed, shrunk, and stored view by view."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from challenge.errors import UsageError
from challenge.framing import FRAMINGS, Windows, cut_out, draw_windows
from challenge.images import to_uint8
from challenge.rounds import ImageRequest
from challenge.seeds import derive_seed
from challenge.settings import GenerateSettings
from challenge.spec import CIFAR100, TINYIMAGENET
from challenge.thumbnails import ThumbnailMaker, are_usable, jpeg_round_trip

REQUESTS = [ImageRequest(class_index, 2, 0, 7) for class_index in range(4)]


def pictures(size: int) -> Tensor:
    return torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0))


def maker(**settings: object) -> ThumbnailMaker:
    return ThumbnailMaker.of(GenerateSettings(**settings), CIFAR100)  # type: ignore[arg-type]


def test_usable_images_are_finite_and_not_black() -> None:
    images = torch.full((4, 3, 2, 2), 0.5)
    images[1, 0, 0, 0] = float("nan")
    images[2] = 0.0
    images[3, 2, 1, 1] = float("inf")
    assert are_usable(images).tolist() == [True, False, False, False]


def test_a_picture_of_the_data_sets_own_size_is_kept_as_it_is() -> None:
    thumbnails, usable = maker().make(pictures(32), REQUESTS)
    assert torch.equal(thumbnails, to_uint8(pictures(32)))
    assert usable == [True] * 4
    assert maker().framing_for(32) == "whole"


def test_a_larger_picture_gets_the_data_sets_framing() -> None:
    assert maker().framing_for(64) == "tight"
    tiny = ThumbnailMaker.of(GenerateSettings(), TINYIMAGENET)
    assert (tiny.framing_for(128), tiny.framing_for(64)) == ("wide", "whole")
    assert maker(framing="mirror").framing_for(32) == "mirror"


def test_a_window_is_that_of_the_documented_seed() -> None:
    thumbnails, _ = maker().make(pictures(64), REQUESTS)
    seeds = [derive_seed(0, "cifar100", "view", index, 2, 0) for index in range(4)]
    windows = draw_windows(seeds, 64, FRAMINGS["tight"])
    expected = to_uint8(cut_out(pictures(64), windows, 32, "bilinear"))
    assert torch.equal(thumbnails, expected)


def test_a_thumbnail_does_not_depend_on_its_batch() -> None:
    together, _ = maker().make(pictures(64), REQUESTS)
    alone, _ = maker().make(pictures(64)[2:3], REQUESTS[2:3])
    assert (together[2:3].int() - alone.int()).abs().max() <= 1


def test_views_of_a_picture_follow_each_other_in_the_channels() -> None:
    several = maker(views=3)
    thumbnails, _ = several.make(pictures(64), REQUESTS)
    assert several.shape == (9, 32, 32)
    assert thumbnails.shape == (4, 9, 32, 32)
    first, _ = maker().make(pictures(64), REQUESTS)
    assert torch.equal(thumbnails[:, :3], first)
    assert not torch.equal(thumbnails[:, 3:6], first)


def test_the_whole_picture_is_shrunk_by_the_filter_that_was_asked_for() -> None:
    thumbnails, _ = maker(framing="whole", shrink="box").make(pictures(64), REQUESTS)
    means = torch.nn.functional.avg_pool2d(pictures(64), 2)
    assert (thumbnails.int() - to_uint8(means).int()).abs().max() <= 1
    whole = cut_out(pictures(64), Windows.whole(pictures(64)), 32, "bicubic")
    thumbnails, _ = maker(framing="whole", shrink="bicubic").make(pictures(64), REQUESTS)
    assert torch.equal(thumbnails, to_uint8(whole))


def test_a_picture_that_is_nan_is_told_and_does_no_harm() -> None:
    broken = pictures(64)
    broken[1] = float("nan")
    thumbnails, usable = maker().make(broken, REQUESTS)
    assert usable == [True, False, True, True]
    assert torch.equal(thumbnails[0], maker().make(pictures(64), REQUESTS)[0][0])


def test_only_tinyimagenet_goes_through_jpeg() -> None:
    assert not maker(jpeg=True).jpeg
    tiny = ThumbnailMaker.of(GenerateSettings(jpeg=True), TINYIMAGENET)
    plain = replace(tiny, jpeg=False).make(pictures(64), REQUESTS)[0]
    assert torch.equal(tiny.make(pictures(64), REQUESTS)[0], jpeg_round_trip(plain))


def test_a_jpeg_round_trip_halves_the_colour_and_keeps_the_light() -> None:
    stripes = torch.zeros(1, 6, 64, 64, dtype=torch.uint8)
    stripes[:, :3] = 128
    stripes[:, 0, :, ::2] = 255  # red changes from column to column: 4:2:0 cannot hold it
    coded = jpeg_round_trip(stripes)
    assert coded.shape == stripes.shape
    red, blue = coded[0, 0].float(), coded[0, 2].float()
    colour = (red - blue)[:, ::2].mean() - (red - blue)[:, 1::2].mean()
    assert float(colour) < 20  # of 127 before
    assert torch.equal(coded[0, 3:], stripes[0, 3:])


@pytest.mark.parametrize("views", [0, -1])
def test_refuses_no_views(views: int) -> None:
    with pytest.raises(UsageError, match="--views"):
        GenerateSettings(views=views)
