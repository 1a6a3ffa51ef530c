"""Looks: what an image shows at a glance, and the words of a prompt that ask for it.

Told from the mean colours of an image's border and from its colourfulness, so coarsely: a green
border may be grass or a wall. A prompt that speaks of grass is trained on the green ones.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

BORDER_SHARE = 8  # the border is an eighth of the side wide


class Glance(NamedTuple):
    """Values in [0, 1]."""

    border: Float[Tensor, "N 3"]
    colourfulness: Float[Tensor, " N"]
    """Mean over the pixels of the largest channel less the smallest."""


class Look(NamedTuple):
    """``words`` ask for it; ``shown`` tells which images have it."""

    words: tuple[str, ...]
    shown: Callable[[Glance], Bool[Tensor, " N"]]

    def asked(self, text: str) -> bool:
        """Whether one of the words stands in a text."""
        return re.search(rf"\b({'|'.join(self.words)})\b", text.casefold()) is not None


def _channel(glance: Glance, index: int) -> Float[Tensor, " N"]:
    return glance.border[:, index]


LOOKS = {
    "grey": Look(
        ("black and white", "old photo"),
        lambda glance: glance.colourfulness < 0.06,
    ),
    "light": Look(
        ("white background", "snow", "ice", "winter"),
        lambda glance: glance.border.amin(1) > 0.75,
    ),
    "dark": Look(
        ("dark", "night"),
        lambda glance: glance.border.amax(1) < 0.3,
    ),
    "green": Look(
        ("grass", "leaf", "leaves", "garden", "forest", "meadow", "park", "trees", "moss", "green",
         "field", "fields", "plants", "lawn", "spring", "summer", "stem"),
        lambda glance: _channel(glance, 1) - glance.border[:, [0, 2]].amax(1) > 0.02,
    ),
    "blue": Look(
        ("sky", "water", "sea", "underwater", "river", "lake", "aquarium", "reef", "pool", "blue"),
        lambda glance: _channel(glance, 2) - _channel(glance, 0) > 0.08,
    ),
    "warm": Look(
        ("sand", "desert", "wooden", "soil", "earth", "sunset", "golden", "autumn", "bark", "log",
         "savanna", "dry", "carpet", "brown", "red", "yellow"),
        lambda glance: _channel(glance, 0) - _channel(glance, 2) > 0.2,
    ),
}  # fmt: skip


def glance_at(images: UInt8[Tensor, "N 3 S S"]) -> Glance:
    """The colours that looks are told from."""
    pixels = images.float() / 255
    side = pixels.shape[-1]
    width = side // BORDER_SHARE
    inner = pixels[:, :, width : side - width, width : side - width]
    border = (pixels.sum((2, 3)) - inner.sum((2, 3))) / (side**2 - inner.shape[-1] ** 2)
    return Glance(border, (pixels.amax(1) - pixels.amin(1)).mean((1, 2)))


def shown_looks(images: UInt8[Tensor, "N 3 S S"]) -> Bool[Tensor, "N looks"]:
    """Which looks each image has; some have none, some several."""
    glance = glance_at(images)
    return torch.stack([look.shown(glance) for look in LOOKS.values()], dim=1)


def asked_looks(text: str) -> Bool[Tensor, " looks"]:
    """Which looks a text asks for."""
    return torch.tensor([look.asked(text) for look in LOOKS.values()])


def asked_beside(noun: str, prompt: str) -> Bool[Tensor, " looks"]:
    """Which looks a prompt asks for beside its noun: a red fox asks for no red border."""
    return asked_looks(prompt.replace(noun, ""))
