"""From latents to pixels: the model's own VAE decoder, and cheaper ways that a thumbnail allows.

What is wanted are 32 or 64 pixels a side. SDXL's VAE decoder makes 512 of them for more arithmetic
than the UNet (2.51 and 1.59 TFLOP an image), and the latents are 64x64 already. So:

    vae        the model's own decoder: the full image
    taesdxl    a small decoder of the full image, trained by others (AutoencoderTiny)
    linear     one 3x3 convolution, fitted in closed form: a thumbnail
    thumbnail  the same and a small convolutional network: a thumbnail (decoder_fitting.py)

A thumbnail has at least twice the target's side where the model draws that many pixels, so that
there is something left to crop and to shrink.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from challenge.errors import WeightsError
from challenge.generators.parts import quiet_libraries

SPARE = 2  # a thumbnail's side, in targets
WIDTH, BLOCKS = 48, 3  # of the network in a thumbnail decoder


class Decoder(ABC):
    """Makes pictures of latents; ``name`` is what ``--decoder`` calls it."""

    name: str

    @property
    def identity(self) -> str:
        """What a record must say of it, so that another one is told from it."""
        return self.name

    @abstractmethod
    def image_size(self, latent_size: int) -> int:
        """Side in pixels of the pictures that latents of this side become."""

    @abstractmethod
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 S S"]:
        """Pictures: float32 in [0, 1], on the latents' device."""


# In one call of a VAE: two images of SDXL-Turbo, which take 0.75 GiB beside the weights (computed,
# tests/measure_memory.py), so that the UNet's batch is not what a small card has room for here.
MOST_PIXELS = 2 * 512 * 512


class VaeDecoder(Decoder):
    """The model's own decoder.

    SDXL's VAE overflows in float16, so diffusers moves it to float32 and back in every call
    (``force_upcast``), the slowest way to decode. Here it stays in bfloat16, which reaches as far
    as float32. A float32 model keeps a float32 VAE.
    """

    name = "vae"

    def __init__(self, vae: Any) -> None:
        if vae.dtype == torch.float16 and vae.config.force_upcast:
            with quiet_libraries():
                vae.to(torch.bfloat16)
        if vae.device.type == "cuda":  # the layout that tensor cores read
            vae.to(memory_format=torch.channels_last)
        self._vae = vae

    def image_size(self, latent_size: int) -> int:
        """The full image."""
        return latent_size * vae_factor(self._vae.config)

    @torch.inference_mode()
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 S S"]:
        """The full image; float32 even where the VAE works in half precision.

        A few at a time, as many as ``MOST_PIXELS`` allow.
        """
        latents = unscale_latents(latents.float(), self._vae.config).to(self._vae.dtype)
        at_a_time = max(1, MOST_PIXELS // self.image_size(latents.shape[-1]) ** 2)
        pictures = [
            self._vae.decode(some, return_dict=False)[0].float()
            for some in torch.split(latents, at_a_time)
        ]
        images = pictures[0] if len(pictures) == 1 else torch.cat(pictures)
        return torch.clamp(images * 0.5 + 0.5, 0, 1)


class TinyVaeDecoder(Decoder):
    """A small decoder that others trained for the latents of this kind of model (TAESDXL, TAESD).

    It takes the latents as the UNet makes them: scaled.
    """

    name = "taesdxl"

    def __init__(self, vae: Any) -> None:
        if next(vae.parameters()).device.type == "cuda":
            vae.to(memory_format=torch.channels_last)
        self._vae = vae

    def image_size(self, latent_size: int) -> int:
        """The full image."""
        config = self._vae.config
        doublings = len(config.decoder_block_out_channels) - 1
        return latent_size * int(config.upsampling_scaling_factor**doublings)

    @torch.inference_mode()
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 S S"]:
        """The full image."""
        (images,) = self._vae.decode(latents.to(self._vae.dtype), return_dict=False)
        return torch.clamp(images.float() * 0.5 + 0.5, 0, 1)


class ThumbnailHead(nn.Module):
    """Latents to ``ratio`` times as many pixels a side: a 3x3 convolution and a correction to it.

    The correction begins as nothing, so that training starts from what the convolution was fitted
    to. Without ``blocks`` there is none.
    """

    def __init__(self, channels: int, ratio: int, width: int = WIDTH, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.shape = {"channels": channels, "ratio": ratio, "width": width, "blocks": blocks}
        self.ratio = ratio
        self.linear = _convolution(channels, 3 * ratio**2)
        self.correction: nn.Module | None = None
        if blocks:
            last = _convolution(width, 3 * ratio**2)
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)
            residuals = (_Residual(width) for _ in range(blocks))
            self.correction = nn.Sequential(
                _convolution(channels, width), *residuals, nn.SiLU(), last
            )

    def forward(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 S S"]:
        """Thumbnails, about in [0, 1]."""
        subpixels = self.linear(latents)
        if self.correction is not None:
            subpixels = subpixels + self.correction(latents)
        return F.pixel_shuffle(subpixels, self.ratio)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.SiLU(), _convolution(width, width), nn.SiLU(), _convolution(width, width)
        )

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = self.layers(features)
        return features + added


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3; at the edge the last latent goes on, since zero is a colour like any other."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")


class ThumbnailDecoder(Decoder):
    """A head that was fitted to one model; it works in float32, on a GPU in float16."""

    def __init__(self, head: ThumbnailHead) -> None:
        device = head.linear.weight.device
        self._digest = _digest(head)
        self._dtype = torch.float16 if device.type == "cuda" else torch.float32
        memory_format = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        self._head = head.eval().to(self._dtype).to(memory_format=memory_format)
        self.name = "linear" if head.correction is None else "thumbnail"

    @property
    def identity(self) -> str:
        """The name and the start of a checksum of the weights."""
        return f"{self.name} {self._digest}"

    def image_size(self, latent_size: int) -> int:
        """A thumbnail."""
        ratio: int = self._head.ratio
        return latent_size * ratio

    @torch.inference_mode()
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 S S"]:
        """A thumbnail."""
        thumbnails: Tensor = self._head(latents.to(self._dtype))
        return thumbnails.float().clamp_(0, 1)


def _digest(head: ThumbnailHead) -> str:
    """The start of the SHA-256 of all weights."""
    sha = hashlib.sha256()
    for tensor in head.state_dict().values():
        sha.update(tensor.float().cpu().numpy().tobytes())
    return sha.hexdigest()[:12]


def thumbnail_ratio(latent_size: int, target_size: int, factor: int) -> int:
    """Pixels a latent, along a side, of a thumbnail; never more than the full image has."""
    return min(-(-SPARE * target_size // latent_size), factor)


def vae_factor(vae_config: Mapping[str, Any]) -> int:
    """Pixels a latent, along a side, of the full image."""
    return int(2 ** (len(vae_config["block_out_channels"]) - 1))


def check_latents(decoder: Any, channels: int, where: str) -> None:
    """Refuse, with a ``WeightsError``, a small decoder that was made for other latents."""
    found = decoder.config.latent_channels
    if found != channels:
        raise WeightsError(
            f"{where} decodes latents of {found} channels and this model's have {channels}; "
            "give --decoder vae or thumbnail"
        )


def unscale_latents(
    latents: Float[Tensor, "B C h w"], vae_config: Mapping[str, Any]
) -> Float[Tensor, "B C h w"]:
    """Latents as the VAE decodes them; a few VAEs have a mean and a deviation for each channel."""
    scaling_factor: float = vae_config["scaling_factor"]
    mean, std = vae_config["latents_mean"], vae_config["latents_std"]
    if mean is None or std is None:
        return latents / scaling_factor
    mean, std = (latents.new_tensor(values)[:, None, None] for values in (mean, std))
    return latents * std / scaling_factor + mean
