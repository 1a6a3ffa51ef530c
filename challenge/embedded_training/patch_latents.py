"""The latents of the embedded model: principal components of squares of 4x4 pixels.

A linear map that needs no training: each square (48 numbers) becomes its first 12 principal
components, each divided by its standard deviation. They hold 98.5 % of the variance of CIFAR-100's
squares and 96.6 % of Tiny-ImageNet's; put back linearly that is a PSNR of 29 and 26 dB. So the UNet
and all that judges it can work on an eighth of the positions, and the VAE only learns to put the
latents back (``vae_training.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from challenge.embedded_training.training_images import to_signed
from challenge.generators.tiny_networks import LATENT_CHANNELS, LATENT_PIXELS

FIT_IMAGES, FIT_SQUARES = 6000, 300_000  # of each data set


@dataclass(frozen=True)
class PatchLatents:
    """The map and its inverse as convolution kernels."""

    forward: Float[Tensor, "latent 3 p p"]
    bias: Float[Tensor, " latent"]
    back: Float[Tensor, "latent 3 p p"]
    mean: Float[Tensor, "1 3 p p"]

    @classmethod
    def fit(cls, data: Sequence[UInt8[Tensor, "_ 3 _ _"]], rng: torch.Generator) -> "PatchLatents":
        """Principal components of as many squares of each of the sets of images."""
        squares = torch.cat([_draw_squares(images, rng) for images in data])
        mean = squares.mean(0)
        variances, axes = torch.linalg.eigh(torch.cov(squares.T))  # rising
        scale = variances.flip(0)[:LATENT_CHANNELS].sqrt()
        axes = axes.flip(1)[:, :LATENT_CHANNELS]
        shape = (-1, 3, LATENT_PIXELS, LATENT_PIXELS)
        forward, back = (axes / scale).T, (axes * scale).T
        return cls(
            forward.reshape(shape).contiguous(),
            -forward @ mean,
            back.reshape(shape).contiguous(),
            mean.view(shape),
        )

    def encode(self, images: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B latent h w"]:
        """Latents of about unit variance."""
        return F.conv2d(to_signed(images), self.forward, self.bias, stride=LATENT_PIXELS)

    def decode(self, latents: Float[Tensor, "B latent h w"]) -> Float[Tensor, "B 3 H W"]:
        """The nearest images in [-1, 1], as far as a linear map reaches; not clamped."""
        height, width = latents.shape[-2:]
        squares = F.conv_transpose2d(latents, self.back.to(latents.device), stride=LATENT_PIXELS)
        return squares + self.mean.to(latents.device).repeat(1, 1, height, width)

    def state(self) -> dict[str, Tensor]:
        """The tensors, to be saved; ``PatchLatents(**state)`` is the map again."""
        return {"forward": self.forward, "bias": self.bias, "back": self.back, "mean": self.mean}


def _draw_squares(images: UInt8[Tensor, "N 3 S S"], rng: torch.Generator) -> Float[Tensor, "_ 48"]:
    some = images[torch.randperm(len(images), generator=rng)[:FIT_IMAGES]]
    squares = F.unfold(to_signed(some), LATENT_PIXELS, stride=LATENT_PIXELS)
    squares = squares.transpose(1, 2).reshape(-1, squares.shape[1])
    return squares[torch.randperm(len(squares), generator=rng)[:FIT_SQUARES]]
