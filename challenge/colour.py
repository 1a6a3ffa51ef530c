"""Colour: how colourful a set is, and bringing it to the look of real images.

The challenge's network normalises each map of each image, so the mean and the contrast of a picture
are nearly nothing to it. What survives is how strong the colours are against the light and dark of
the same picture, and their balance. Both are brought to the real set's (``spec``, public numbers),
by one factor and one shift for the whole set: the pictures keep their differences. Where they
differ less from each other than real ones do, each gets a random part of what is missing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from challenge.spec import ColourLook

QUARTILES_IN_DEVIATIONS = 1.349  # between the quartiles of a normal distribution
MOST_FACTOR = 4.0  # of the colours: what is nearly grey stays so


def measure_look(images: Float[Tensor, "N 3 H W"]) -> ColourLook:
    """The look of images in [0, 1].

    Grey is the mean of the three channels and colour what is left of them, the balance of the set
    apart. The saturation of an image is the standard deviation of its colour divided by that of its
    grey.
    """
    grey = images.mean(dim=1, keepdim=True)
    colour = images - grey
    balance = colour.mean(dim=(0, 2, 3))
    colour = colour - balance[:, None, None]
    saturation = colour.flatten(1).std(dim=1) / grey.flatten(1).std(dim=1).clamp(min=1e-3)
    quarter, half, three_quarters = (
        saturation.float().clamp(min=1e-3).quantile(saturation.new_tensor([0.25, 0.5, 0.75]))
    )
    red, green, blue = balance.tolist()
    spread = float((three_quarters / quarter).log()) / QUARTILES_IN_DEVIATIONS
    return ColourLook(float(half), spread, (red, green, blue))


@dataclass(frozen=True)
class ColourMatch:
    """From the look of a set to that of the real one."""

    made: ColourLook
    real: ColourLook

    @property
    def factor(self) -> float:
        """What all colours are multiplied by."""
        return max(1 / MOST_FACTOR, min(MOST_FACTOR, self.real.saturation / self.made.saturation))

    @property
    def missing_spread(self) -> float:
        """Standard deviation of the logarithm of a factor an image, so that the spreads agree."""
        missing: float = max(0.0, self.real.spread**2 - self.made.spread**2) ** 0.5
        return missing

    def record(self) -> dict[str, Any]:
        """How far off the set was, for run.json."""
        looks = {"made": asdict(self.made), "real": asdict(self.real)}
        return {**looks, "factor": self.factor, "missing_spread": self.missing_spread}

    def __str__(self) -> str:
        made, real = self.made, self.real
        return (
            f"colours times {self.factor:.2f}: saturation was {made.saturation:.2f}, real images "
            f"have {real.saturation:.2f}; balance was {_signed(made.balance)}, real images have "
            f"{_signed(real.balance)}; spread missing {self.missing_spread:.2f}"
        )

    def apply(
        self, images: Float[Tensor, "B 3 H W"], seeds: Sequence[int]
    ) -> Float[Tensor, "B 3 H W"]:
        """The images in the look of the real set, in [0, 1]; each seed draws its image's spread."""
        rng = torch.Generator()
        luck = torch.stack([torch.randn((), generator=rng.manual_seed(seed)) for seed in seeds])
        factors = (self.factor * (luck * self.missing_spread).exp()).clamp(max=MOST_FACTOR)
        balance = images.new_tensor(self.real.balance) - self.factor * images.new_tensor(
            self.made.balance
        )
        grey = images.mean(dim=1, keepdim=True)
        colour = (images - grey) * factors.to(images)[:, None, None, None]
        return (grey + colour + balance[:, None, None]).clamp(0, 1)


def _signed(balance: tuple[float, float, float]) -> str:
    return " ".join(f"{value:+.3f}" for value in balance)
