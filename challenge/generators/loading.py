"""Loads the model that ``--model`` names: from this machine, without a word, whole or not at all.

The libraries would rather go on: they look for missing files on the net, make up tensors that a
file lacks, and say so in a warning. Here each of these is a ``WeightsError`` of one line.

A run of a pipeline folder imports neither a diffusers pipeline nor a VAE before it asks for one.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import LCMScheduler

from challenge.errors import WeightsError, first_line
from challenge.generators.base import GeneratorDescription
from challenge.generators.decoders import TinyVaeDecoder, check_latents
from challenge.generators.hub import NOTHING_RECORDED, Commits
from challenge.generators.images import RealImages, load_real_images
from challenge.generators.parts import (
    MISFITS,
    FolderParts,
    Parts,
    PipelineParts,
    check_complete,
    quiet_libraries,
)
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.generators.weights import (
    IMAGES_PREFIX,
    Weights,
    find_small_decoder,
    find_weights,
)
from challenge.prompts import PromptBook
from challenge.settings import NO_OPTIONS, ModelOptions


def open_generator(
    model: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    books: Sequence[PromptBook],
    run_seed: int,
    num_inference_steps: int = 1,
    options: ModelOptions = NO_OPTIONS,
    recorded: Commits = NOTHING_RECORDED,
) -> OneStepGenerator | RealImages:
    """What a run makes its images with: a model, or the real images that ``images:DIR`` means.

    Raises:
        DataError: real images are missing or damaged.
        WeightsError: as ``load_generator``.
    """
    if model.startswith(IMAGES_PREFIX):
        return load_real_images(model, books, run_seed)
    generator = load_generator(
        model, device=device, dtype=dtype, options=options, recorded=recorded
    )
    generator.num_inference_steps = num_inference_steps
    return generator


def load_generator(
    model: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    options: ModelOptions = NO_OPTIONS,
    recorded: Commits = NOTHING_RECORDED,
) -> OneStepGenerator:
    """The model that ``--model`` names, on ``device``, with its UNet in ``dtype``.

    ``recorded`` are the commits that ``prepare`` recorded of hub repositories.

    Raises:
        WeightsError: the model is missing or damaged, or is not one for a single step.
    """
    if model == "tiny":
        return _load_tiny(device, dtype)
    weights = find_weights(model, options, recorded)
    if weights.is_single_file:
        from challenge.generators.pipelines import load_pipeline

        with quiet_libraries():
            parts: Parts = PipelineParts(load_pipeline(weights, dtype), device)
    else:
        parts = FolderParts(weights, device, dtype)
    return OneStepGenerator(parts, describe(parts, model, weights), weights.options.timestep)


def load_small_decoder(generator: OneStepGenerator) -> TinyVaeDecoder:
    """TAESDXL, or TAESD, for this generator's latents, on its device and in its dtype.

    Raises:
        WeightsError: it is not on this machine, is damaged, or was made for other latents.
    """
    from diffusers import AutoencoderTiny

    folder = find_small_decoder(of_sdxl=generator.is_sdxl)
    with quiet_libraries():
        try:
            vae, info = AutoencoderTiny.from_pretrained(
                folder,
                dtype=generator.dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        except MISFITS as error:
            raise WeightsError(
                f"{folder} cannot be loaded: {first_line(error)}; get it again"
            ) from error
    check_complete(folder, info["missing_keys"])
    check_latents(vae, generator.latent_channels, folder.name)
    return TinyVaeDecoder(vae.to(generator.device).eval())


def _load_tiny(device: torch.device, dtype: torch.dtype) -> OneStepGenerator:
    """The embedded model."""
    from challenge.generators.tiny import TINY_NOTE, TINY_SOURCE, load_tiny_pipeline, tiny_revision

    with quiet_libraries():
        parts = load_tiny_pipeline().to(device=device, dtype=dtype)
    description = GeneratorDescription(
        model="tiny",
        source=TINY_SOURCE,
        revision=tiny_revision(),
        dtype=str(parts.unet.dtype).removeprefix("torch."),
        device=str(parts.device),
        note=TINY_NOTE,
        fingerprint=tiny_revision(),
    )
    return OneStepGenerator(parts, description)


def describe(parts: Any, model: str, weights: Weights) -> GeneratorDescription:
    """What records say of a model from files."""
    return GeneratorDescription(
        model=model,
        source=_source(weights),
        revision=_revision(weights),
        dtype=str(parts.dtype).removeprefix("torch."),
        device=str(parts.device),
        note=late_start_note(parts),
        fingerprint=weights.fingerprint,
        commits=weights.commits,
    )


def _source(weights: Weights) -> str:
    """Where the weights came from: the UNet's file first where it has one of its own."""
    if weights.unet_file is None:
        return weights.source
    return f"{weights.unet_name} on {weights.source}"


def _revision(weights: Weights) -> str | None:
    """The commit of the UNet, which is the commit of all where it has no file of its own."""
    return weights.revision if weights.unet_file is None else weights.unet_commit


def late_start_note(pipe: Any) -> str | None:
    """A warning if the model's single step does not start from noise; ``None`` if it does."""
    spacing = pipe.scheduler.config.get("timestep_spacing")
    if spacing == "trailing" or isinstance(pipe.scheduler, LCMScheduler):
        return None
    return (
        f"with its timestep_spacing of {spacing!r} the model's only step starts where hardly any "
        "noise is left to remove: expect noise; one-step models have 'trailing'"
    )
