"""Differentiable Siamese augmentation, as the official evaluator trains with it.

An operation is a function of a batch and of its drawn parameters, one of each per image; a
``draw_*`` function draws them on the device of its torch.Generator, so that no step waits for
them. ``augment_batch`` picks ONE of the six strategies for a batch. Definitions: official
utils/utils.py, DiffAugment with aug_mode 'S' and no seed (paper: Zhao and Bilen, Dataset
Condensation with Differentiable Siamese Augmentation, 2021).

Images are normalised, not in [0, 1]: "zero" below is the mean colour, and no result is clamped.
"""

import math
import random

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from challenge.spec import DSA, DSA_STRATEGIES


def augment_batch(
    images: Float[Tensor, "B 3 S S"], rng: torch.Generator, strategies: random.Random
) -> Float[Tensor, "B 3 S S"]:
    """The batch after one strategy, drawn with equal chances from ``strategies``.

    The parameters of each image are drawn from ``rng``, which must be on the images' device.
    """
    return apply_strategy(strategies.choice(DSA_STRATEGIES), images, rng)


def apply_strategy(
    strategy: str, images: Float[Tensor, "B 3 S S"], rng: torch.Generator
) -> Float[Tensor, "B 3 S S"]:
    """The batch after this strategy (a name of spec.DSA_STRATEGIES), with freshly drawn parameters.

    Raises:
        ValueError: there is no such strategy.
    """
    count, size = len(images), images.shape[-1]
    match strategy:
        case "color":
            images = brightness(images, draw_brightness(count, rng))
            images = saturation(images, draw_saturation(count, rng))
            return contrast(images, draw_contrast(count, rng))
        case "crop":
            rows, cols = draw_crop(count, size, rng)
            return crop(images, rows, cols)
        case "cutout":
            rows, cols = draw_cutout(count, size, rng)
            return cutout(images, rows, cols)
        case "flip":
            return flip(images, draw_flip(count, rng))
        case "scale":
            scale_x, scale_y = draw_scale(count, rng)
            return scale(images, scale_x, scale_y)
        case "rotate":
            return rotate(images, draw_rotate(count, rng))
    raise ValueError(f"no DSA strategy {strategy!r}; there are {', '.join(DSA_STRATEGIES)}")


def draw_brightness(count: int, rng: torch.Generator) -> Float[Tensor, " B"]:
    """Offsets, uniform in [-0.5, 0.5)."""
    return (torch.rand(count, generator=rng, device=rng.device) - 0.5) * DSA.brightness


def brightness(
    images: Float[Tensor, "B 3 S S"], offset: Float[Tensor, " B"]
) -> Float[Tensor, "B 3 S S"]:
    """Adds the offset to all channels."""
    return images + _per_image(offset)


def draw_saturation(count: int, rng: torch.Generator) -> Float[Tensor, " B"]:
    """Factors, uniform in [0, 2)."""
    return torch.rand(count, generator=rng, device=rng.device) * DSA.saturation


def saturation(
    images: Float[Tensor, "B 3 S S"], factor: Float[Tensor, " B"]
) -> Float[Tensor, "B 3 S S"]:
    """Scales each pixel's distance from its own grey (the mean of its channels)."""
    grey = images.mean(dim=1, keepdim=True)
    return (images - grey) * _per_image(factor) + grey


def draw_contrast(count: int, rng: torch.Generator) -> Float[Tensor, " B"]:
    """Factors, uniform in [0.5, 1.5)."""
    return torch.rand(count, generator=rng, device=rng.device) + DSA.contrast


def contrast(
    images: Float[Tensor, "B 3 S S"], factor: Float[Tensor, " B"]
) -> Float[Tensor, "B 3 S S"]:
    """Scales each value's distance from the mean of its image."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * _per_image(factor) + mean


def draw_crop(
    count: int, size: int, rng: torch.Generator
) -> tuple[Int64[Tensor, " B"], Int64[Tensor, " B"]]:
    """Shifts of rows and of columns in pixels, uniform on -size/8 .. size/8."""
    most = int(size * DSA.crop_pad_ratio + 0.5)
    rows = torch.randint(-most, most + 1, (count,), generator=rng, device=rng.device)
    return rows, torch.randint(-most, most + 1, (count,), generator=rng, device=rng.device)


def crop(
    images: Float[Tensor, "B 3 S S"],
    shift_row: Int64[Tensor, " B"],
    shift_col: Int64[Tensor, " B"],
) -> Float[Tensor, "B 3 S S"]:
    """Moves the window over the image; where it looks outside, it sees zeros."""
    size = images.shape[-1]
    window = torch.arange(1, size + 1, device=images.device)  # 0 and size + 1 are the zero border
    rows = (window + shift_row[:, None]).clamp(0, size + 1)
    cols = (window + shift_col[:, None]).clamp(0, size + 1)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    bordered = F.pad(images, (1, 1, 1, 1))
    return bordered[batch, :, rows[:, :, None], cols[:, None, :]].permute(0, 3, 1, 2).contiguous()


def draw_cutout(
    count: int, size: int, rng: torch.Generator
) -> tuple[Int64[Tensor, " B"], Int64[Tensor, " B"]]:
    """Centre rows and columns, uniform on 0 .. size (for an odd cut-out 0 .. size - 1)."""
    end = size + 1 - _cutout_size(size) % 2
    rows = torch.randint(0, end, (count,), generator=rng, device=rng.device)
    return rows, torch.randint(0, end, (count,), generator=rng, device=rng.device)


def cutout(
    images: Float[Tensor, "B 3 S S"],
    center_row: Int64[Tensor, " B"],
    center_col: Int64[Tensor, " B"],
) -> Float[Tensor, "B 3 S S"]:
    """Zeroes a square of half the image's side, less where it would reach over the edge."""
    size = images.shape[-1]
    side = _cutout_size(size)
    place = torch.arange(size, device=images.device)

    def covered(center: Int64[Tensor, " B"]) -> Bool[Tensor, "B S"]:
        start = center[:, None] - side // 2
        return (place >= start) & (place < start + side)

    hole = covered(center_row)[:, None, :, None] & covered(center_col)[:, None, None, :]
    return images * ~hole


def draw_flip(count: int, rng: torch.Generator) -> Bool[Tensor, " B"]:
    """Which images to mirror: each with a chance of one half."""
    return torch.rand(count, generator=rng, device=rng.device) < DSA.flip_probability


def flip(images: Float[Tensor, "B 3 S S"], flipped: Bool[Tensor, " B"]) -> Float[Tensor, "B 3 S S"]:
    """Mirrors the chosen images left to right."""
    return torch.where(_per_image(flipped), images.flip(3), images)


def draw_scale(count: int, rng: torch.Generator) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Scales of x and of y, uniform in [1/1.2, 1.2), independent of each other."""
    least, most = 1 / DSA.scale_ratio, DSA.scale_ratio
    scale_x = torch.rand(count, generator=rng, device=rng.device) * (most - least) + least
    return scale_x, torch.rand(count, generator=rng, device=rng.device) * (most - least) + least


def scale(
    images: Float[Tensor, "B 3 S S"], scale_x: Float[Tensor, " B"], scale_y: Float[Tensor, " B"]
) -> Float[Tensor, "B 3 S S"]:
    """Stretches about the centre; above 1 the picture gets smaller, with zeros around it."""
    zero = torch.zeros_like(scale_x)
    return _warp(images, ((scale_x, zero), (zero, scale_y)))


def draw_rotate(count: int, rng: torch.Generator) -> Float[Tensor, " B"]:
    """Angles in radians, uniform within 15 degrees either way."""
    return (
        (torch.rand(count, generator=rng, device=rng.device) - 0.5)
        * 2
        * math.radians(DSA.rotate_degrees)
    )


def rotate(
    images: Float[Tensor, "B 3 S S"], radians: Float[Tensor, " B"]
) -> Float[Tensor, "B 3 S S"]:
    """Turns about the centre, anticlockwise for angles above 0; zeros come in at the corners."""
    cos, sin = radians.cos(), radians.sin()
    return _warp(images, ((cos, -sin), (sin, cos)))


def _warp(
    images: Float[Tensor, "B 3 S S"], rows: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
) -> Float[Tensor, "B 3 S S"]:
    """Samples the images at places that a 2x2 matrix gives, bilinear, zeros outside."""
    linear = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = F.affine_grid(F.pad(linear, (0, 1)), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _cutout_size(size: int) -> int:
    return int(size * DSA.cutout_ratio + 0.5)


def _per_image(value: Tensor) -> Tensor:
    return value[:, None, None, None]
