"""What can be read off the pixels: colour, light and sharpness of each image.

The challenge's network normalises each map, so brightness and contrast hardly reach it; saturation
and the balance of the colours do. Sharpness guards density and coverage, which like a blur.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from challenge.images import from_uint8

LUMA = (0.299, 0.587, 0.114)  # of R, G, B (ITU-R BT.601)
GREY_CHROMA = 0.01  # an image of less chroma (standard deviation) is black and white
FINE_FREQUENCY = 0.25  # cycles a pixel; half of the highest that a grid can hold


@dataclass(frozen=True)
class PictureStatistics:
    """One number an image and measure; ``concat`` joins those of several groups."""

    saturation: Float[Tensor, " N"]
    chroma: Float[Tensor, " N"]
    brightness: Float[Tensor, " N"]
    contrast: Float[Tensor, " N"]
    red_over_green: Float[Tensor, " N"]
    blue_over_green: Float[Tensor, " N"]
    sharpness: Float[Tensor, " N"]

    @classmethod
    def of(cls, images: UInt8[Tensor, "N 3 S S"]) -> "PictureStatistics":
        """Those of some images."""
        pixels = from_uint8(images)
        luma = torch.einsum("nchw,c->nhw", pixels, torch.tensor(LUMA))
        difference = pixels - luma[:, None]
        chroma = difference.square().mean((1, 2, 3)).sqrt()
        contrast = luma.flatten(1).std(1, correction=0)
        red, green, blue = pixels.mean((2, 3)).clamp_min(1e-3).unbind(1)
        return cls(
            saturation=chroma / contrast.clamp_min(1e-3),
            chroma=chroma,
            brightness=luma.mean((1, 2)),
            contrast=contrast,
            red_over_green=red / green,
            blue_over_green=blue / green,
            sharpness=_fine_share(luma),
        )

    @classmethod
    def concat(cls, groups: "list[PictureStatistics]") -> "PictureStatistics":
        """All images of all groups."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: torch.cat([getattr(each, name) for each in groups]) for name in names})

    def summary(self) -> dict[str, float]:
        """Medians, and the share of images that are black and white."""
        names = (
            "saturation", "brightness", "contrast", "red_over_green", "blue_over_green", "sharpness"
        )  # fmt: skip
        medians = {name: float(getattr(self, name).median()) for name in names}
        return medians | {"grey_share": float((self.chroma < GREY_CHROMA).double().mean())}


def _fine_share(luma: Float[Tensor, "N S S"]) -> Float[Tensor, " N"]:
    """Share of the luma's power, its mean apart, at more than a quarter of a cycle a pixel."""
    size = luma.shape[-1]
    power = torch.fft.rfft2(luma - luma.mean((1, 2), keepdim=True)).abs().square()
    power[:, :, 1 : (size + 1) // 2] *= 2  # the half that rfft leaves out
    rows, columns = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    fine = (rows.square() + columns.square()).sqrt() > FINE_FREQUENCY
    total = power.sum((1, 2)).clamp_min(1e-6)
    share: Tensor = (power * fine).sum((1, 2)) / total
    return share
