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
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from jaxtyping import Float
from torch import Tensor

from challenge.errors import PromptError, WeightsError
from challenge.generators.base import GeneratorDescription
from challenge.generators.one_step import only_step

ENCODE_BATCH = 32


class OneStepGenerator:
    """An ``ImageGenerator`` that runs an SDXL pipeline's networks, in place, one UNet call a batch.

    SDXL's VAE overflows in float16, so diffusers moves it to float32 and back in every call
    (``force_upcast``), the slowest way to decode. Here it stays in bfloat16, which reaches as far
    as float32. A float32 model keeps a float32 VAE.
    """

    def __init__(self, pipe: StableDiffusionXLPipeline, description: GeneratorDescription) -> None:
        check_unet(pipe.unet.config)
        self.description = description
        self._pipe = pipe
        self._device: torch.device = pipe.device
        self._dtype: torch.dtype = pipe.unet.dtype
        self._one_step = only_step(pipe.scheduler, self._device)
        self._embeddings: dict[str, tuple[Tensor, Tensor]] = {}
        self._size_ids: dict[int, Tensor] = {}
        self._rng = torch.Generator("cpu")
        if self._dtype == torch.float16 and pipe.vae.config.force_upcast:
            pipe.vae.to(torch.bfloat16)
        if self._device.type == "cuda":  # the layout that tensor cores read
            pipe.unet.to(memory_format=torch.channels_last)
            pipe.vae.to(memory_format=torch.channels_last)

    def image_size(self, target_size: int) -> int:
        """The size that the model was made for (SDXL-Turbo: 512), or the target's if larger."""
        own_size: int = self._pipe.unet.config.sample_size * self._pipe.vae_scale_factor
        return max(own_size, target_size)

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
                chunk, device=self._device, do_classifier_free_guidance=False
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
        return self.decode(self.denoise(prompts, self.draw_noise(seeds, image_size)))

    @torch.inference_mode()
    def draw_noise(self, seeds: Sequence[int], image_size: int) -> Float[Tensor, "B C h w"]:
        """Noise of unit variance in the model's dtype, each image's from a CPU rng of its own seed.

        That is what the pipeline draws if it is given a list of CPU rngs. It goes to a GPU from
        pinned memory: a copy from other memory would wait until the batch before is done.
        """
        scale: int = self._pipe.vae_scale_factor
        if image_size % scale:
            raise ValueError(f"image_size {image_size} is not a multiple of {scale}")
        side, channels = image_size // scale, self._pipe.unet.config.in_channels
        pin_memory = self._device.type == "cuda"
        noise = torch.empty(
            (len(seeds), channels, side, side), dtype=self._dtype, pin_memory=pin_memory
        )
        for image_noise, seed in zip(noise, seeds, strict=True):
            image_noise.normal_(generator=self._rng.manual_seed(seed))
        return noise.to(self._device, non_blocking=True)

    @torch.inference_mode()
    def denoise(
        self, prompts: Sequence[str], noise: Float[Tensor, "B C h w"]
    ) -> Float[Tensor, "B C h w"]:
        """Latents of the images, from noise of unit variance: the one UNet call."""
        hidden, pooled = self._gather_embeddings(prompts)
        size_ids = self._size_conditioning(noise.shape[-1] * self._pipe.vae_scale_factor)
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
            ids = torch.tensor([[size, size, 0, 0, size, size]], dtype=self._dtype)
            self._size_ids[size] = ids.to(self._device)
        return self._size_ids[size]

    @torch.inference_mode()
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 S S"]:
        """Pictures in [0, 1] from latents; float32 even where the VAE works in half precision."""
        vae = self._pipe.vae
        latents = unscale_latents(latents.float(), vae.config).to(vae.dtype)
        (images,) = vae.decode(latents, return_dict=False)
        return torch.clamp(images.float() * 0.5 + 0.5, 0, 1)


def check_unet(config: Mapping[str, object]) -> None:
    """Refuse, with a ``WeightsError``, a UNet that wants other conditioning than SDXL-Turbo's."""
    expected = {"addition_embed_type": "text_time", "time_cond_proj_dim": None}
    for key, value in expected.items():
        if config[key] != value:
            raise WeightsError(f"the model's UNet has {key} {config[key]!r}; expected {value!r}")


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
