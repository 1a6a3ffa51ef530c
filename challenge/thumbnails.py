"""From the pictures of a model to what the journal keeps: judged, framed, shrunk, as bytes.

Views are made here and not as rounds of their own: the scheduler counts pictures, and a picture's
views are to it what post-augmented variants are, only better, since they are cut from the full
picture. A journal record of V views is an image of 3 V channels; ``Journal.read`` gives the first
view of each picture and ``read_views`` all of them. So the scheduler, the guard and every reader go
on counting distinct pictures.

A window depends on run seed, class, round and view alone. Where a model draws at the data set's own
size there is nothing to cut from, so ``auto`` takes the whole picture: the embedded model learnt
the framing of the real images.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from challenge.framing import FRAMINGS, Framing, Windows, cut_out, draw_windows
from challenge.images import to_uint8
from challenge.rounds import ImageRequest
from challenge.seeds import derive_seed
from challenge.settings import FramingPreset, GenerateSettings
from challenge.spec import DatasetName, DatasetSpec, ShrinkFilter
from challenge.transfer import Arriving

BLACK = 2 / 255  # an image with no brighter value than this is black
JPEG_QUALITY = 75
DEFAULT_FRAMING: dict[DatasetName, FramingPreset] = {"cifar100": "tight", "tinyimagenet": "wide"}
DEFAULT_SHRINK: dict[DatasetName, ShrinkFilter] = {
    "cifar100": "bilinear",
    "tinyimagenet": "lanczos",
}


@dataclass(frozen=True)
class ThumbnailMaker:
    """Makes the thumbnails of one data set; ``framing`` None is the preset for the size."""

    spec: DatasetSpec
    run_seed: int
    framing: FramingPreset | None
    views: int
    shrink_filter: ShrinkFilter
    jpeg: bool

    @classmethod
    def of(cls, settings: GenerateSettings, spec: DatasetSpec) -> "ThumbnailMaker":
        """As the settings say."""
        return cls(
            spec=spec,
            run_seed=settings.seed,
            framing=None if settings.framing == "auto" else settings.framing,
            views=settings.views,
            shrink_filter=(
                DEFAULT_SHRINK[spec.name] if settings.shrink == "auto" else settings.shrink
            ),
            jpeg=settings.jpeg and spec.name == "tinyimagenet",
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of what is kept of one picture: the channels of all its views, height and width."""
        size = self.spec.image_size
        return (3 * self.views, size, size)

    def framing_for(self, picture_size: int) -> FramingPreset:
        """The preset that pictures of this size are framed by."""
        if self.framing is not None:
            return self.framing
        return "whole" if picture_size == self.spec.image_size else DEFAULT_FRAMING[self.spec.name]

    def make(
        self, pictures: Float[Tensor, "B 3 H W"], requests: Sequence[ImageRequest]
    ) -> tuple[UInt8[Tensor, "B C S S"], list[bool]]:
        """The views of each picture, and whether it can be used; both on the CPU."""
        return self.finish(self.start(pictures, requests))

    def start(
        self, pictures: Float[Tensor, "B 3 H W"], requests: Sequence[ImageRequest]
    ) -> Arriving:
        """Ask the device for what ``make`` returns, and wait for nothing."""
        usable = are_usable(pictures)
        pictures = pictures.nan_to_num()
        framing = FRAMINGS[self.framing_for(pictures.shape[-1])]
        views = [self._view(pictures, requests, framing, view) for view in range(self.views)]
        return Arriving([to_uint8(torch.cat(views, dim=1)), usable])

    def finish(self, arriving: Arriving) -> tuple[UInt8[Tensor, "B C S S"], list[bool]]:
        """Wait for what ``start`` has asked for."""
        thumbnails, usable = arriving.wait()
        if self.jpeg:
            thumbnails = jpeg_round_trip(thumbnails)
        return thumbnails, usable.tolist()

    def _view(
        self,
        pictures: Float[Tensor, "B 3 H W"],
        requests: Sequence[ImageRequest],
        framing: Framing,
        view: int,
    ) -> Float[Tensor, "B 3 S S"]:
        size, target = pictures.shape[-1], self.spec.image_size
        if framing == FRAMINGS["whole"]:
            if size == target:
                return pictures
            return cut_out(pictures, Windows.whole(pictures), target, self.shrink_filter)
        seeds = [
            derive_seed(
                self.run_seed, self.spec.name, "view", each.class_index, each.round_index, view
            )
            for each in requests
        ]
        windows = draw_windows(seeds, size, framing)
        return cut_out(pictures, windows, target, self.shrink_filter)


def are_usable(images: Float[Tensor, "B 3 H W"]) -> Bool[Tensor, " B"]:
    """Which images hold no NaN, no infinity, and are not black."""
    flat = images.flatten(1)
    return flat.isfinite().all(dim=1) & (flat.amax(dim=1) > BLACK)


def jpeg_round_trip(thumbnails: UInt8[Tensor, "B C S S"]) -> UInt8[Tensor, "B C S S"]:
    """Every view as a JPEG of quality 75 with halved colour (4:2:0) gives it back."""
    size = thumbnails.shape[-1]
    views = thumbnails.reshape(-1, 3, size, size).permute(0, 2, 3, 1).contiguous().numpy()
    coded = np.stack([_coded(view) for view in views])
    return torch.from_numpy(coded).permute(0, 3, 1, 2).reshape(thumbnails.shape)


def _coded(pixels: UInt8[np.ndarray, "S S 3"]) -> UInt8[np.ndarray, "S S 3"]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return np.asarray(Image.open(file))
