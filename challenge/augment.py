"""Post-augmentation: random copies of finished thumbnails, made by kornia on the images' device.

kornia draws from torch's global rng, so what an image got would depend on its neighbours in the
batch. Here every image has a seed of its own: its parameters are drawn on the CPU (the same on
every machine) and handed to kornia. So the result does not depend on batch size, order of work or
resume. What the presets are worth, measured on real images: README, "What helps".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from kornia.enhance import adjust_brightness, adjust_contrast, adjust_gamma, adjust_saturation
from kornia.geometry.transform import get_rotation_matrix2d, hflip, vflip, warp_affine
from torch import Tensor

from challenge.settings import AugmentPreset

Range = tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    """What may happen to an image, in this order; values are drawn uniformly, each on its own.

    A probability says how often a step happens at all. The defaults change nothing.
    """

    mirror_probability: float = 0.0
    upside_down_probability: float = 0.0
    contrast: Range = (1.0, 1.0)  # factor of all values
    brightness: Range = (0.0, 0.0)  # added to all values
    light_probability: float = 1.0  # of contrast and brightness together
    zoom: Range = (1.0, 1.0)  # 1.2 shows the object 1.2 times as large
    shift: float = 0.0  # largest way, right or left and down or up, as a share of the side
    rotate_degrees: float = 0.0  # largest angle, either way
    rotate_probability: float = 1.0
    gamma: Range = (1.0, 1.0)
    gamma_probability: float = 1.0
    saturation: Range = (1.0, 1.0)


UPRIGHT = Recipe(mirror_probability=0.5, zoom=(0.8, 1.2), shift=0.125)
PRESETS: dict[AugmentPreset, Recipe | None] = {
    "none": None,
    "flip": Recipe(mirror_probability=1.0),  # one copy, the mirrored image
    "upright": UPRIGHT,
    "strong": Recipe(
        mirror_probability=0.5,
        zoom=(0.7, 1.4),
        shift=0.15,
        rotate_degrees=15.0,
        saturation=(0.5, 1.5),
    ),
    # Guang000/BANKO @bd796b2, submit_cifar100.py: albumentations on the thumbnail
    "banko": Recipe(
        mirror_probability=0.8,
        upside_down_probability=0.8,
        contrast=(0.8, 1.2),
        brightness=(-0.2, 0.2),
        light_probability=0.5,
        rotate_degrees=60.0,
        rotate_probability=0.8,
        gamma=(0.8, 1.2),
        gamma_probability=0.5,
    ),
}
DRAWS = 12  # uniform numbers an image


@dataclass(frozen=True)
class Draws:
    """What happens to each of B images, on the CPU. ``shift`` is in pixels (right, down)."""

    mirror: Float[Tensor, " B"]  # 1 mirrored, 0 not; so is upside_down
    upside_down: Float[Tensor, " B"]
    contrast: Float[Tensor, " B"]
    brightness: Float[Tensor, " B"]
    zoom: Float[Tensor, " B"]
    shift: Float[Tensor, "B 2"]
    degrees: Float[Tensor, " B"]
    gamma: Float[Tensor, " B"]
    saturation: Float[Tensor, " B"]


def augment_images(
    images: Float[Tensor, "B 3 S S"], seeds: Sequence[int], preset: AugmentPreset
) -> Float[Tensor, "B 3 S S"]:
    """One augmented copy of each image, pixels in [0, 1]; ``none`` hands back the very images.

    For k variants of an image, repeat it k times and give each repetition its own seed.

    Raises:
        ValueError: not as many seeds as images.
    """
    if len(seeds) != len(images):
        raise ValueError(f"{len(seeds)} seeds for {len(images)} images; give one seed an image")
    recipe = PRESETS[preset]
    if recipe is None or not len(images):
        return images
    return apply_draws(images, draw_parameters(seeds, images.shape[-1], recipe))


def draw_parameters(seeds: Sequence[int], image_size: int, recipe: Recipe) -> Draws:
    """The parameters of each image, from its own seed alone."""
    rng = torch.Generator()
    # 3 us an image: 0.03 s for 10,000 (one of two busy CPU cores, torch 2.15)
    uniform = torch.empty(len(seeds), DRAWS)
    for row, seed in zip(uniform, seeds, strict=True):
        row.uniform_(generator=rng.manual_seed(seed))
    u = uniform.unbind(dim=1)

    def between(bounds: Range, place: int) -> Float[Tensor, " B"]:
        return bounds[0] + (bounds[1] - bounds[0]) * u[place]

    def sometimes(
        happens: Float[Tensor, " B"], probability: float, value: Tensor, else_: float
    ) -> Float[Tensor, " B"]:
        return torch.where(happens < probability, value, else_)

    light, most = recipe.light_probability, recipe.rotate_degrees
    return Draws(
        mirror=(u[0] < recipe.mirror_probability).float(),
        upside_down=(u[1] < recipe.upside_down_probability).float(),
        contrast=sometimes(u[2], light, between(recipe.contrast, 3), 1.0),
        brightness=sometimes(u[2], light, between(recipe.brightness, 4), 0.0),
        zoom=between(recipe.zoom, 5),
        shift=(2 * uniform[:, 6:8] - 1) * recipe.shift * image_size,
        degrees=sometimes(u[8], recipe.rotate_probability, between((-most, most), 9), 0.0),
        gamma=sometimes(u[10], recipe.gamma_probability, between(recipe.gamma, 11), 1.0),
        # BANKO has no saturation and strong no gamma, so they may share a number
        saturation=between(recipe.saturation, 11),
    )


def apply_draws(images: Float[Tensor, "B 3 S S"], draws: Draws) -> Float[Tensor, "B 3 S S"]:
    """The steps of a recipe, for the whole batch; what happens to no image costs nothing."""
    images = _where(draws.mirror, hflip(images), images)
    images = _where(draws.upside_down, vflip(images), images)
    if (draws.contrast != 1).any() or (draws.brightness != 0).any():
        images = adjust_contrast(images, draws.contrast, clip_output=False)
        images = adjust_brightness(images, draws.brightness)
    images = _warp(images, draws)
    if (draws.gamma != 1).any():
        images = adjust_gamma(images, draws.gamma.to(images))
    if (draws.saturation != 1).any():
        images = adjust_saturation(images, draws.saturation.to(images))
    return images


def _where(
    chosen: Float[Tensor, " B"], yes: Float[Tensor, "B 3 S S"], no: Float[Tensor, "B 3 S S"]
) -> Float[Tensor, "B 3 S S"]:
    return torch.where(chosen.to(no.device).bool()[:, None, None, None], yes, no)


def _warp(images: Float[Tensor, "B 3 S S"], draws: Draws) -> Float[Tensor, "B 3 S S"]:
    """Zoom and turn about the centre, then shift, in one step; the rest is left alone.

    What comes in over the edge is a reflection of the image: "border" would draw the last row out
    into stripes, "zeros" would teach the network black frames.
    """
    B, size = len(images), images.shape[-1]
    if not (draws.degrees.any() or draws.shift.any() or (draws.zoom != 1).any()):
        return images
    centre = torch.full((B, 2), size / 2 - 0.5)
    matrix = get_rotation_matrix2d(centre, draws.degrees, draws.zoom[:, None].expand(B, 2))
    matrix[:, :, 2] += draws.shift
    warped: Tensor = warp_affine(
        images, matrix.to(images), (size, size), mode="bilinear", padding_mode="reflection"
    )
    return warped.clamp(0, 1)
