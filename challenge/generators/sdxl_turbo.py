"""SDXL-Turbo as one UNet call a batch: no guidance, no loop over steps, no prompt encoded twice.

diffusers' pipeline is made for one picture at a time. Each call encodes its prompts again, waits
for the device to find its place in the noise schedule, and moves a half-precision VAE to float32
and back. Of a one-step model only this is left (sigma is 14.61 at SDXL-Turbo's t = 999):

    latents = noise * sigma
    output  = UNet(latents / sqrt(sigma**2 + 1), t, prompt embedding, image size)
    image   = VAE decoder(x0(latents, output) / scaling_factor) / 2 + 1/2

tests/test_sdxl_turbo.py proves it ``torch.equal`` to diffusers 0.42's StableDiffusionXLPipeline
(``num_inference_steps=1, guidance_scale=0.0``, one rng an image) in float32 at the same batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from challenge.errors import WeightsError
from challenge.generators.base import GeneratorDescription
from challenge.generators.compiled_blocks import Backend, compile_blocks
from challenge.generators.consistency_step import consistency_step
from challenge.generators.decoders import Decoder, VaeDecoder, vae_factor
from challenge.generators.embeddings import PromptEmbeddings
from challenge.generators.one_step import only_step
from challenge.generators.several_steps import denoise_in_steps
from challenge.generators.text_encoders import encode


class OneStepGenerator:
    """An ``ImageGenerator`` that runs a pipeline's networks, in place, one UNet call a batch.

    ``pipe`` is SDXL's pipeline or Stable Diffusion's, or something with the same parts. Pictures
    are the VAE's until ``use_decoder`` says otherwise. With a ``timestep`` the
    pipeline's noise scheduler is diffusers' LCMScheduler, which takes its only step there.
    """

    def __init__(
        self, pipe: Any, description: GeneratorDescription, timestep: int | None = None
    ) -> None:
        self._unet_config = getattr(pipe, "unet_config", None) or pipe.unet.config
        check_unet(self._unet_config)
        self._pipe = pipe
        self.device: torch.device = pipe.device
        self.dtype: torch.dtype = pipe.dtype
        self._one_step = step = (
            only_step(pipe.scheduler, self.device)
            if timestep is None
            else consistency_step(pipe.scheduler, timestep, self.device)
        )
        self.description = replace(
            description, timestep=float(step.timestep), prediction_type=step.prediction_type
        )
        self.embeddings = PromptEmbeddings(self.device)
        self._size_ids: dict[int, Tensor] = {}
        self._rng = torch.Generator("cpu")
        self.vae_factor = vae_factor(getattr(pipe, "vae_config", None) or pipe.vae.config)
        self.num_inference_steps = 1
        self._ways: dict[int, _Way] = {}
        self._sides: dict[int, int] = {}
        self.compiled: set[tuple[int, int]] = set()  # batch sizes and resolutions
        self.uses_compiled = True
        self._has_compiled_blocks = self._is_compiling = False

    @cached_property
    def vae_decoder(self) -> VaeDecoder:
        """The model's own decoder, loaded when it is first needed."""
        return VaeDecoder(self._pipe.vae)

    @cached_property
    def unet(self) -> torch.nn.Module:
        """The network of the one call, loaded when it is first needed."""
        unet: torch.nn.Module = self._pipe.unet
        if self.device.type == "cuda":  # the layout that tensor cores read
            unet.to(memory_format=torch.channels_last)
        return unet

    @property
    def is_sdxl(self) -> bool:
        """Whether it is of SDXL's kind, else of Stable Diffusion's."""
        return self._unet_config.get("addition_embed_type") is not None

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        channels: int = self._unet_config.get("in_channels", 4)
        return channels

    def resolution(self, target_size: int) -> int:
        """The size that the model was made for (SDXL-Turbo: 512), or the target's if larger."""
        own_size: int = self._unet_config["sample_size"] * self.vae_factor
        return max(own_size, target_size)

    def image_size(self, target_size: int) -> int:
        """The side of a full image, or of what the target's own decoder makes of its latents."""
        return self._sides.get(target_size, self.resolution(target_size))

    def use_decoder(
        self, target_size: int, decoder: Decoder, resolution: int | None = None
    ) -> None:
        """From now on make the images of this target by ``decoder``.

        They are then of another size, which ``image_size`` tells and ``generate`` knows them by.
        ``resolution`` is the side of the full image that they stand for; default: the model's.
        """
        resolution = resolution or self.resolution(target_size)
        side = decoder.image_size(self._latent_size(resolution))
        self._ways[side], self._sides[target_size] = _Way(resolution, decoder), side
        names = dict.fromkeys(way.decoder.identity for way in self._ways.values())
        self.description = replace(self.description, decoder=", ".join(names))

    def has_decoder(self, target_size: int) -> bool:
        """Whether the images of this target have a decoder of their own."""
        return target_size in self._sides

    def compile_unet(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        resolution: int,
        backend: Backend = "inductor",
    ) -> None:
        """Compile the UNet's blocks for batches of exactly this shape, by making one.

        Others run as before, and nothing is ever compiled later on. Raises what torch raises; then
        all batches run as before.
        """
        if not self._has_compiled_blocks:
            compile_blocks(self.unet, backend)
        self._has_compiled_blocks = self._is_compiling = True
        self.uses_compiled = False
        try:
            self.image_latents(prompts, seeds, resolution)
            self.wait()
        finally:
            self._is_compiling = False
        self.compiled.add((len(prompts), resolution))
        self.uses_compiled = True

    def wait(self) -> None:
        """Return when the device has done all that it was asked for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def encode_prompts(self, prompts: Sequence[str]) -> None:
        """Encode those of ``prompts`` that are not encoded yet."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.embeddings]
        if new:
            self.embeddings.add(new, self.encoded(new))

    def encoded(self, prompts: Sequence[str]) -> Iterator[list[Tensor]]:
        """Hidden states, and pooled prompts for SDXL, batch by batch; nothing is kept."""
        if self._pipe.text_encoder is None:
            raise ValueError(f"the text encoders were released before {prompts[0]!r} was encoded")
        return encode(self._pipe, prompts)

    def release_text_encoders(self) -> None:
        """Free the text encoders (1.6 of SDXL-Turbo's 6.9 GB); what is encoded stays."""
        self._pipe.text_encoder = None
        if self.is_sdxl:
            self._pipe.text_encoder_2 = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # else their memory is no room for larger tensors

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], image_size: int
    ) -> Float[Tensor, "B 3 S S"]:
        """One picture for each prompt and seed: an inference tensor, float32 in [0, 1]."""
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds")
        way = self._ways.get(image_size) or _Way(image_size, self.vae_decoder)
        return way.decoder.decode(self.image_latents(prompts, seeds, way.resolution))

    @torch.inference_mode()
    def image_latents(
        self, prompts: Sequence[str], seeds: Sequence[int], resolution: int
    ) -> Float[Tensor, "B C h w"]:
        """Latents of full images: in one step, or in ``num_inference_steps``."""
        if self.num_inference_steps == 1:
            return self.denoise(prompts, self.draw_noise(seeds, resolution))
        side = self._latent_size(resolution)
        return denoise_in_steps(
            self._pipe.scheduler,
            self.num_inference_steps,
            lambda latents, timestep: self._call_unet(prompts, latents, timestep),
            seeds,
            (self.latent_channels, side, side),
            self.device,
            self.dtype,
        )

    @torch.inference_mode()
    def draw_noise(self, seeds: Sequence[int], image_size: int) -> Float[Tensor, "B C h w"]:
        """Noise of unit variance in the model's dtype, each image's from a CPU rng of its own seed.

        That is what the pipeline draws if it is given a list of CPU rngs. It goes to a GPU from
        pinned memory: a copy from other memory would wait until the batch before is done.
        """
        side, channels = self._latent_size(image_size), self.latent_channels
        pin_memory = self.device.type == "cuda"
        noise = torch.empty(
            (len(seeds), channels, side, side), dtype=self.dtype, pin_memory=pin_memory
        )
        for image_noise, seed in zip(noise, seeds, strict=True):
            image_noise.normal_(generator=self._rng.manual_seed(seed))
        return noise.to(self.device, non_blocking=True)

    def _latent_size(self, image_size: int) -> int:
        if image_size % self.vae_factor:
            raise ValueError(f"image_size {image_size} is not a multiple of {self.vae_factor}")
        return image_size // self.vae_factor

    @torch.inference_mode()
    def denoise(
        self, prompts: Sequence[str], noise: Float[Tensor, "B C h w"]
    ) -> Float[Tensor, "B C h w"]:
        """Latents of the images, from noise of unit variance: the one UNet call."""
        step = self._one_step
        latents = step.noisy_latents(noise)
        output = self._call_unet(prompts, step.unet_input(latents), step.timestep)
        return step.image_latents(latents, output)

    def _call_unet(self, prompts: Sequence[str], latents: Tensor, timestep: Tensor) -> Tensor:
        hidden, pooled = self.embeddings.gather(prompts)
        conditioning = self._size_conditioning(pooled, latents.shape[-1] * self.vae_factor)
        output: Tensor
        with self._stance():
            (output,) = self.unet(
                latents,
                timestep,
                encoder_hidden_states=hidden,
                added_cond_kwargs=conditioning,
                return_dict=False,
            )
        return output

    def _stance(self) -> AbstractContextManager[object]:
        """What torch may do with compiled blocks: use those that fit the shape, compile none."""
        if not self._has_compiled_blocks or self._is_compiling:
            return nullcontext()
        if not self.uses_compiled:
            return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]
        return torch.compiler.set_stance("eager_on_recompile")  # type: ignore[no-any-return]

    def _size_conditioning(self, pooled: Tensor | None, size: int) -> dict[str, Tensor] | None:
        """What SDXL's UNet is told beside the prompt: the pooled one, and its ``time_ids``.

        These are original size, crop corner and target size, for a picture not cropped. SD-Turbo's
        UNet is told nothing.
        """
        if pooled is None:
            return None
        if size not in self._size_ids:
            ids = torch.tensor([[size, size, 0, 0, size, size]], dtype=self.dtype)
            self._size_ids[size] = ids.to(self.device)
        return {"text_embeds": pooled, "time_ids": self._size_ids[size].expand(len(pooled), -1)}


@dataclass(frozen=True)
class _Way:
    """How pictures of one size are made: ``decoder``'s view of a full image of ``resolution``."""

    resolution: int
    decoder: Decoder


def check_unet(config: Mapping[str, object]) -> None:
    """Refuse, with a ``WeightsError``, a UNet that wants other conditioning than these models'."""
    expected = {"addition_embed_type": ("text_time", None), "time_cond_proj_dim": (None,)}
    for key, values in expected.items():
        if config.get(key) not in values:
            raise WeightsError(
                f"the model's UNet has {key} {config[key]!r}; "
                f"expected {' or '.join(repr(value) for value in values)}"
            )
