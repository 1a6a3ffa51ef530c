"""The models that a benchmark measures: real ones, or public ones at full size with random weights.

Decoders are measured with random weights too, unless they are the model's own: their speed does not
depend on what they were fitted to.
"""

import time
from dataclasses import dataclass

import torch
from diffusers import AutoencoderTiny, DiffusionPipeline

from challenge.benchmarks.rows import Variant
from challenge.generators.base import GeneratorDescription
from challenge.generators.decoders import (
    BLOCKS,
    Decoder,
    ThumbnailDecoder,
    ThumbnailHead,
    TinyVaeDecoder,
    check_latents,
    thumbnail_ratio,
)
from challenge.generators.loading import load_generator
from challenge.generators.parts import quiet_libraries
from challenge.generators.pipelines import load_plain_pipeline
from challenge.generators.public_configs import PUBLIC_MODELS
from challenge.generators.random_weights import fill_at_random, random_pipeline
from challenge.generators.sdxl_turbo import OneStepGenerator


@dataclass(frozen=True)
class Source:
    """Where a benchmark's model comes from; ``random_weights`` needs no files."""

    model: str
    random_weights: bool
    device: torch.device

    def generator(self, dtype: torch.dtype) -> tuple[OneStepGenerator, float]:
        """Our sampler with the model, and the seconds of loading or making it."""
        started_s = time.perf_counter()
        if self.random_weights:
            with quiet_libraries():
                generator = OneStepGenerator(self._random(dtype), self.description(dtype))
        else:
            generator = load_generator(self.model, device=self.device, dtype=dtype)
        generator.unet  # noqa: B018  # read when it is first asked for, and this is loading
        return generator, time.perf_counter() - started_s

    def pipeline(self, dtype: torch.dtype) -> DiffusionPipeline:
        """The same model as the library's own pipeline."""
        if not self.random_weights:
            return load_plain_pipeline(self.model, device=self.device, dtype=dtype)
        with quiet_libraries():
            pipe = self._random(dtype)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _random(self, dtype: torch.dtype) -> DiffusionPipeline:
        return random_pipeline(PUBLIC_MODELS[self.model], self.device, dtype)

    def description(self, dtype: torch.dtype) -> GeneratorDescription:
        """What records say of a model that this makes."""
        source, note = self.model, None
        if self.random_weights:
            public = PUBLIC_MODELS[self.model].source
            source = f"random weights, shaped by the configs of {public}"
            note = "its weights are random: speed means something, pictures do not"
        dtype_name = str(dtype).removeprefix("torch.")
        return GeneratorDescription(
            self.model, source, None, dtype_name, str(self.device), note=note
        )


def use_decoder(generator: OneStepGenerator, variant: Variant, target_size: int) -> Decoder:
    """Have the generator draw at the variant's resolution and decode by its decoder; returns it.

    Raises:
        WeightsError: this decoder is not one for this model's latents.
    """
    decoder = _decoder(generator, variant, target_size)
    generator.use_decoder(target_size, decoder, variant.resolution)
    return decoder


def _decoder(generator: OneStepGenerator, variant: Variant, target_size: int) -> Decoder:
    if variant.decoder == "vae":
        return generator.vae_decoder
    latents = generator.draw_noise([0], variant.resolution)
    _, channels, side, _ = latents.shape
    rng = torch.Generator(latents.device).manual_seed(0)
    if variant.decoder == "taesdxl":
        small_vae = AutoencoderTiny()  # its defaults are TAESD's shape, and TAESDXL's
        check_latents(small_vae, channels, "TAESDXL")
        fill_at_random(small_vae.to(latents.device, latents.dtype), rng)
        return TinyVaeDecoder(small_vae.eval())
    ratio = thumbnail_ratio(side, target_size, generator.vae_factor)
    blocks = BLOCKS if variant.decoder == "thumbnail" else 0
    head = ThumbnailHead(channels, ratio, blocks=blocks).to(latents.device)
    fill_at_random(head, rng)
    return ThumbnailDecoder(head)
