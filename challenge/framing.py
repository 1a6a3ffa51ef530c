"""Framing: which window of a picture becomes the thumbnail, cut out and shrunk in one exact step.

A one-step model centres its object and shows all of it; training images are cut tighter and less
orderly. So each view of a picture is a random square window, mirrored in half of the cases. The
window is cut BEFORE the shrink: from 512 pixels (or a decoder's thumbnail of twice the size) that
loses nothing, from the thumbnail it would cost sharpness.

The shrink is Pillow's ``resize(box=...)``: each output pixel is a weighted mean of the pixels under
the filter, the weights normalised, the filter as wide as the step. Rows and columns are two small
matrices an image, so a batch of windows is two matrix products on the images' device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from challenge.settings import FramingPreset
from challenge.spec import ShrinkFilter
from challenge.transfer import to_device


@dataclass(frozen=True)
class Framing:
    """How windows are drawn; lengths are shares of the picture's side."""

    side: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0  # of the window's centre, either way; less where the window would stick out
    mirror_probability: float = 0.0


FRAMINGS: dict[FramingPreset, Framing] = {
    "whole": Framing(),
    "mirror": Framing(mirror_probability=0.5),
    # CIFAR-100: the object fills the frame
    "tight": Framing(side=(0.6, 1.0), shift=0.12, mirror_probability=0.5),
    # Tiny-ImageNet: mostly the whole frame, object boxes cover 53 % of it on average
    "wide": Framing(side=(0.75, 1.0), shift=0.12, mirror_probability=0.5),
}


@dataclass(frozen=True)
class Windows:
    """A window of each of B pictures, in pixels: (left, top, right, bottom), and its mirroring."""

    boxes: Float[Tensor, "B 4"]
    mirrored: Bool[Tensor, " B"]

    @classmethod
    def whole(cls, images: Float[Tensor, "B 3 H W"]) -> "Windows":
        """All of each picture."""
        height, width = images.shape[-2:]
        box = torch.tensor([[0.0, 0.0, width, height]])
        return cls(box.expand(len(images), 4), torch.zeros(len(images), dtype=torch.bool))


def draw_windows(seeds: Sequence[int], picture_size: int, framing: Framing) -> Windows:
    """A square window for each seed, on the CPU: it depends on nothing but its seed."""
    rng = torch.Generator()
    uniform = torch.empty(len(seeds), 4)
    for row, seed in zip(uniform, seeds, strict=True):
        row.uniform_(generator=rng.manual_seed(seed))
    smallest, largest = framing.side
    side = smallest + (largest - smallest) * uniform[:, 0]
    way = torch.clamp((1 - side) / 2, max=framing.shift)[:, None]
    corner = (1 - side[:, None]) / 2 + (2 * uniform[:, 1:3] - 1) * way
    boxes = torch.cat([corner, corner + side[:, None]], dim=1) * picture_size
    return Windows(boxes, uniform[:, 3] < framing.mirror_probability)


def cut_out(
    images: Float[Tensor, "B 3 H W"], windows: Windows, size: int, shrink_filter: ShrinkFilter
) -> Float[Tensor, "B 3 size size"]:
    """The window of each picture at ``size`` pixels, on the pictures' device.

    Windows lie within their pictures. Filters with negative lobes (bicubic, lanczos) may leave the
    range of the input a little; the result is clamped to [0, 1].
    """
    height, width = images.shape[-2:]
    boxes = to_device(windows.boxes, images.device)
    columns = _weights(boxes[:, 0], boxes[:, 2], width, size, shrink_filter)
    rows = _weights(boxes[:, 1], boxes[:, 3], height, size, shrink_filter)
    mirrored = to_device(windows.mirrored, images.device)
    columns = torch.where(mirrored[:, None, None], columns.flip(1), columns)
    shrunk = rows[:, None] @ images @ columns.transpose(1, 2)[:, None]
    return shrunk.clamp(0, 1)


def _weights(
    start: Float[Tensor, " B"],
    stop: Float[Tensor, " B"],
    length: int,
    size: int,
    shrink_filter: ShrinkFilter,
) -> Float[Tensor, "B size length"]:
    """The share of each input pixel in each output pixel of the windows, along one axis."""
    response, support = FILTERS[shrink_filter]
    step = ((stop - start) / size)[:, None, None]
    places = torch.arange(size, device=start.device) + 0.5
    centres = start[:, None, None] + places[None, :, None] * step
    pixels = torch.arange(length, device=start.device) + 0.5
    # Pillow: enlarging does not narrow the filter
    distance = (pixels - centres) / step.clamp(min=1.0)
    weights = torch.where(distance.abs() <= support, response(distance), 0.0)
    return weights / weights.sum(dim=2, keepdim=True)


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _box(x: Tensor) -> Tensor:
    return ((x > -0.5) & (x <= 0.5)).float()


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic with a = -0.5, as Pillow's."""
    a, x = -0.5, x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _lanczos(x: Tensor) -> Tensor:
    return torch.sinc(x) * torch.sinc(x / 3)


# response at a distance in steps, and how far it reaches
FILTERS: dict[ShrinkFilter, tuple[Callable[[Tensor], Tensor], float]] = {
    "bilinear": (_triangle, 1.0),
    "box": (_box, 0.5),
    "bicubic": (_cubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}
