"""Is our sampler the library's, on this device and in this dtype? Latents and pictures compared."""

from dataclasses import dataclass

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from challenge.benchmarks.work import Workload
from challenge.generators.sdxl_turbo import OneStepGenerator


@dataclass(frozen=True)
class SamplerDifference:
    """Largest differences of two ways to the same pictures; 0 where they are ``torch.equal``.

    ``latents_rms`` is the size of the latents, to compare with. Pictures lie in [0, 1].
    """

    dtype: str
    images: int
    latents_equal: bool
    latents_max_abs: float
    latents_rms: float
    pictures_equal: bool
    pictures_max_abs: float


def library_way(
    pipe: DiffusionPipeline, work: Workload, size: int, resolution: int
) -> tuple[Tensor, Tensor]:
    """Latents and pictures by the library's own pipeline, noise from one CPU rng an image."""
    prompts, seeds = work.batch(size)

    def run(output_type: str) -> Tensor:
        made: Tensor = pipe(
            prompt=prompts,
            num_inference_steps=1,
            guidance_scale=0.0,
            height=resolution,
            width=resolution,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            output_type=output_type,
        ).images
        return made

    return run("latent"), run("pt")


def compare_samplers(
    generator: OneStepGenerator,
    theirs: tuple[Tensor, Tensor],
    work: Workload,
    size: int,
    resolution: int,
) -> SamplerDifference:
    """Ours, with the same weights, against what ``library_way`` made."""
    prompts, seeds = work.batch(size)
    latents = generator.denoise(prompts, generator.draw_noise(seeds, resolution))
    pictures = generator.vae_decoder.decode(latents)
    their_latents, their_pictures = theirs
    return SamplerDifference(
        dtype=str(latents.dtype).removeprefix("torch."),
        images=size,
        latents_equal=torch.equal(latents, their_latents),
        latents_max_abs=_largest(latents, their_latents),
        latents_rms=float(latents.float().square().mean().sqrt()),
        pictures_equal=torch.equal(pictures, their_pictures.float()),
        pictures_max_abs=_largest(pictures, their_pictures),
    )


def _largest(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.float() - theirs.float()).abs().max())
