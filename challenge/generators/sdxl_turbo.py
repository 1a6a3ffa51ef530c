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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from diffusers import StableDiffusionXLPipeline
from jaxtyping import Float
from torch import Tensor

from challenge.errors import PromptError, WeightsError
from challenge.generators.base import GeneratorDescription
from challenge.generators.decoders import Decoder, VaeDecoder, vae_factor
from challenge.generators.one_step import only_step

ENCODE_BATCH = 32


class OneStepGenerator:
    """An ``ImageGenerator`` that runs an SDXL pipeline's networks, in place, one UNet call a batch.

    Pictures are the VAE's until ``use_decoder`` says otherwise.
    """

    def __init__(self, pipe: StableDiffusionXLPipeline, description: GeneratorDescription) -> None:
        check_unet(pipe.unet.config)
        self.description = description
        self._pipe = pipe
        self.device: torch.device = pipe.device
        self.dtype: torch.dtype = pipe.unet.dtype
        self._one_step = only_step(pipe.scheduler, self.device)
        self._embeddings: dict[str, tuple[Tensor, Tensor]] = {}
        self._size_ids: dict[int, Tensor] = {}
        self._rng = torch.Generator("cpu")
        if self.device.type == "cuda":  # the layout that tensor cores read
            pipe.unet.to(memory_format=torch.channels_last)
        self.vae_factor = vae_factor(pipe.vae.config)
        self.vae_decoder = VaeDecoder(pipe.vae)
        self._ways: dict[int, _Way] = {}
        self._sides: dict[int, int] = {}

    @property
    def unet(self) -> torch.nn.Module:
        """The network of the one call, for who measures it."""
        unet: torch.nn.Module = self._pipe.unet
        return unet

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        channels: int = self._pipe.unet.config.in_channels
        return channels

    def resolution(self, target_size: int) -> int:
        """The size that the model was made for (SDXL-Turbo: 512), or the target's if larger."""
        own_size: int = self._pipe.unet.config.sample_size * self.vae_factor
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

    @torch.inference_mode()
    def encode_prompts(self, prompts: Sequence[str]) -> None:
        """Encode those of ``prompts`` that are not encoded yet; embeddings stay on the device."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._embeddings]
        if new and self._pipe.text_encoder is None:
            raise ValueError(f"the text encoders were released before {new[0]!r} was encoded")
        for first in range(0, len(new), ENCODE_BATCH):
            chunk = new[first : first + ENCODE_BATCH]
            self._check_lengths(chunk)
            hidden, _, pooled, _ = self._pipe.encode_prompt(
                chunk, device=self.device, do_classifier_free_guidance=False
            )
            self._embeddings.update(zip(chunk, zip(hidden, pooled, strict=True), strict=True))

    def _check_lengths(self, prompts: list[str]) -> None:
        """Refuse a prompt that the pipeline would cut with no more than a warning."""
        for tokenizer in (self._pipe.tokenizer, self._pipe.tokenizer_2):
            limit = tokenizer.model_max_length
            for prompt, ids in zip(
                prompts, tokenizer(prompts, verbose=False).input_ids, strict=True
            ):
                if len(ids) > limit:
                    raise PromptError(
                        f"a prompt has {len(ids)} tokens and the model reads {limit}; "
                        f"shorten it: {prompt!r}"
                    )

    def release_text_encoders(self) -> None:
        """Free the text encoders (1.6 of SDXL-Turbo's 6.9 GB); what is encoded stays."""
        self._pipe.text_encoder = None
        self._pipe.text_encoder_2 = None

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], image_size: int
    ) -> Float[Tensor, "B 3 S S"]:
        """One picture for each prompt and seed: an inference tensor, float32 in [0, 1]."""
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds")
        way = self._ways.get(image_size, _Way(image_size, self.vae_decoder))
        latents = self.denoise(prompts, self.draw_noise(seeds, way.resolution))
        return way.decoder.decode(latents)

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
        hidden, pooled = self._gather_embeddings(prompts)
        size_ids = self._size_conditioning(noise.shape[-1] * self.vae_factor)
        latents = self._one_step.noisy_latents(noise)
        (output,) = self._pipe.unet(
            self._one_step.unet_input(latents),
            self._one_step.timestep,
            encoder_hidden_states=hidden,
            added_cond_kwargs={
                "text_embeds": pooled,
                "time_ids": size_ids.expand(len(prompts), -1),
            },
            return_dict=False,
        )
        return self._one_step.image_latents(latents, output)

    def _gather_embeddings(
        self, prompts: Sequence[str]
    ) -> tuple[Float[Tensor, "B tokens width"], Float[Tensor, "B pooled_width"]]:
        missing = [prompt for prompt in prompts if prompt not in self._embeddings]
        if missing:
            raise ValueError(f"{missing[0]!r} is not encoded; call encode_prompts before generate")
        hidden, pooled = zip(*(self._embeddings[prompt] for prompt in prompts), strict=True)
        return torch.stack(hidden), torch.stack(pooled)

    def _size_conditioning(self, size: int) -> Float[Tensor, "1 6"]:
        """SDXL's time_ids: original size, crop corner, target size, for a picture not cropped."""
        if size not in self._size_ids:
            ids = torch.tensor([[size, size, 0, 0, size, size]], dtype=self.dtype)
            self._size_ids[size] = ids.to(self.device)
        return self._size_ids[size]


@dataclass(frozen=True)
class _Way:
    """How pictures of one size are made: ``decoder``'s view of a full image of ``resolution``."""

    resolution: int
    decoder: Decoder


def check_unet(config: Mapping[str, object]) -> None:
    """Refuse, with a ``WeightsError``, a UNet that wants other conditioning than SDXL-Turbo's."""
    expected = {"addition_embed_type": "text_time", "time_cond_proj_dim": None}
    for key, value in expected.items():
        if config[key] != value:
            raise WeightsError(f"the model's UNet has {key} {config[key]!r}; expected {value!r}")
