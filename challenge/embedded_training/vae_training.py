"""Train the VAE to put patch latents back into pixels (decoder), and to make them (encoder).

The latents are given (``patch_latents.py``), so encoder and decoder are two regressions that know
nothing of each other. Both are learnt on small squares of real images, which suits convolutions.
"""

import math
from typing import Any

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from challenge.embedded_training.master_weights import MasterWeights, learning_rate_factor
from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.resumable import Resumable
from challenge.embedded_training.training_images import TrainingImages, mirror_half, to_signed
from challenge.generators.tiny_networks import LATENT_PIXELS

LEARNING_RATE = 2e-3
SQUARE = 16  # pixels; whole images of 32 pixels in the last quarter of the steps
SQUARES_PER_SET = 16
LATENT_NOISE = 0.1  # standard deviation; made latents are not those of a real image
LOG_VARIANCE = -12.0  # of the encoder's distribution: as good as none


class Encoder(nn.Module):
    """The VAE's way from pixels to the mean and the log variance of the latents."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B moments h w"]:
        """Means, then log variances."""
        moments: Tensor = self.quant_conv(self.encoder(images))
        return moments


class Decoder(nn.Module):
    """The VAE's way from latents to pixels."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents: Float[Tensor, "B latent h w"]) -> Float[Tensor, "B 3 H W"]:
        """Images in [-1, 1], not clamped."""
        images: Tensor = self.decoder(self.post_quant_conv(latents))
        return images


class VaeTraining(Resumable):
    """Trains encoder and decoder in place."""

    def __init__(
        self,
        vae: AutoencoderKL,
        data: list[TrainingImages],
        latents: PatchLatents,
        steps: int,
        *,
        rng: torch.Generator,
        device: torch.device,
    ) -> None:
        self._decoder = MasterWeights(Decoder(vae).to(device), LEARNING_RATE)
        self._encoder = MasterWeights(Encoder(vae).to(device), LEARNING_RATE)
        self._data, self._latents, self._steps = data, latents, steps
        self._rng, self._device = rng, device
        self.steps_done = 0

    def step(self) -> dict[str, float]:
        """Squares of images of all data sets, through both."""
        rng, device = self._rng, self._device
        factor = learning_rate_factor(self.steps_done, self._steps, flat_share=0.5)
        side = SQUARE if self.steps_done < 0.75 * self._steps else 2 * SQUARE
        pixels = torch.cat([_draw_squares(real.train, side, rng) for real in self._data])
        z, images = self._latents.encode(pixels), to_signed(pixels).to(device)
        noisy = z + LATENT_NOISE * torch.randn(z.shape, generator=rng)
        decoded = self._decoder.working(_as_input(noisy, device)).float()
        decoding = decoding_loss(decoded, images)
        decoding.backward()  # type: ignore[no-untyped-call]
        moments = self._encoder.working(_as_input(images, device)).float()
        encoding = encoding_loss(moments, z.to(device))
        encoding.backward()  # type: ignore[no-untyped-call]
        self._decoder.step(factor)
        self._encoder.step(factor)
        self.steps_done += 1
        return {"decoding": float(decoding.detach()), "encoding": float(encoding.detach())}

    def state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "decoder": self._decoder.state(),
            "encoder": self._encoder.state(),
            "rng": self._rng.get_state(),
            "steps_done": self.steps_done,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._decoder.load_state(state["decoder"])
        self._encoder.load_state(state["encoder"])
        self._rng.set_state(state["rng"])
        self.steps_done = state["steps_done"]


def decoding_loss(
    decoded: Float[Tensor, "B 3 H W"], images: Float[Tensor, "B 3 H W"]
) -> Float[Tensor, ""]:
    """Mean absolute and mean squared error."""
    return F.l1_loss(decoded, images) + F.mse_loss(decoded, images)


def encoding_loss(
    moments: Float[Tensor, "B moments h w"], latents: Float[Tensor, "B latent h w"]
) -> Float[Tensor, ""]:
    """Squared error of the means, and of the log variances against a small constant."""
    mean, log_variance = moments.chunk(2, dim=1)
    return F.mse_loss(mean, latents) + 0.01 * F.mse_loss(
        log_variance, torch.full_like(log_variance, LOG_VARIANCE)
    )


@torch.inference_mode()
def decoded_psnr(vae: AutoencoderKL, real: TrainingImages, latents: PatchLatents) -> float:
    """Peak signal-to-noise ratio, in dB, of validation images through latents and decoder."""
    images = real.validation.flatten(0, 1)
    some = images[:: max(1, len(images) // 200)]
    (decoded,) = vae.decode(latents.encode(some), return_dict=False)
    error = F.mse_loss(decoded.clamp(-1, 1), to_signed(some))
    return 10 * math.log10(4 / float(error))


def _draw_squares(
    by_class: UInt8[Tensor, "classes N 3 S S"], side: int, rng: torch.Generator
) -> UInt8[Tensor, "B 3 side side"]:
    """Squares on the grid of the latents, all at one place, half of them mirrored."""
    images = by_class.flatten(0, 1)
    drawn = images[torch.randint(len(images), (SQUARES_PER_SET,), generator=rng)]
    places = (images.shape[-1] - side) // LATENT_PIXELS + 1
    top, left = (LATENT_PIXELS * torch.randint(places, (2,), generator=rng)).tolist()
    return mirror_half(drawn[:, :, top : top + side, left : left + side], rng)


def _as_input(maps: Tensor, device: torch.device) -> Tensor:
    return maps.to(device, torch.bfloat16, memory_format=torch.channels_last)
