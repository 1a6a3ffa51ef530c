"""Loads the model that ``--model`` names: from this machine, without a word, whole or not at all.

The libraries would rather go on: they look for missing files on the net, make up tensors that a
file lacks, and say so in a warning. Here each of these is a ``WeightsError`` of one line.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import diffusers.utils.logging as diffusers_logging
import torch
import transformers.utils.logging as transformers_logging
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from challenge.errors import WeightsError
from challenge.generators.base import GeneratorDescription
from challenge.generators.decoders import TinyVaeDecoder, check_latents
from challenge.generators.images import RealImages, load_real_images
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.generators.tiny import TINY_NOTE, TINY_SOURCE, load_tiny_pipeline, tiny_revision
from challenge.generators.weights import (
    IMAGES_PREFIX,
    TAESDXL,
    TRY_TINY,
    Weights,
    find_small_decoder,
    find_weights,
)
from challenge.prompts import PromptBook

NETWORK_CLASSES = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
# What the libraries raise when configs and tensors do not fit each other.
MISFITS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)


def open_generator(
    model: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    books: Sequence[PromptBook],
    run_seed: int,
) -> OneStepGenerator | RealImages:
    """What a run makes its images with: a model, or the real images that ``images:DIR`` means.

    Raises:
        DataError: real images are missing or damaged.
        WeightsError: as ``load_generator``.
    """
    if model.startswith(IMAGES_PREFIX):
        return load_real_images(model, books, run_seed)
    return load_generator(model, device=device, dtype=dtype)


def load_generator(model: str, *, device: torch.device, dtype: torch.dtype) -> OneStepGenerator:
    """The model that ``--model`` names, on ``device``, with its UNet in ``dtype``.

    Raises:
        WeightsError: the model is missing or damaged, or is not one for a single step.
    """
    with quiet_libraries():
        pipe, weights = _load(model, device, dtype)
        return OneStepGenerator(pipe, describe(pipe, model, weights))


def load_plain_pipeline(
    model: str, *, device: torch.device, dtype: torch.dtype
) -> StableDiffusionXLPipeline:
    """The same model as diffusers' own pipeline, as anyone loads it, to be measured against.

    Raises:
        WeightsError: the model is missing or damaged.
    """
    with quiet_libraries():
        pipe, _ = _load(model, device, dtype)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_small_decoder(generator: OneStepGenerator) -> TinyVaeDecoder:
    """TAESDXL for this generator's latents, on its device and in its dtype.

    Raises:
        WeightsError: it is not on this machine, is damaged, or was made for other latents.
    """
    folder = find_small_decoder()
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
            reason = str(error).strip().partition("\n")[0]
            raise WeightsError(f"{folder} cannot be loaded: {reason}; get it again") from error
    _check_complete(folder, info["missing_keys"])
    check_latents(vae, generator.latent_channels, TAESDXL)
    return TinyVaeDecoder(vae.to(generator.device).eval())


def _load(
    model: str, device: torch.device, dtype: torch.dtype
) -> tuple[StableDiffusionXLPipeline, Weights | None]:
    if model == "tiny":
        return load_tiny_pipeline().to(device=device, dtype=dtype), None
    weights = find_weights(model)
    return load_pipeline(weights, dtype).to(device), weights


def describe(
    pipe: StableDiffusionXLPipeline, model: str, weights: Weights | None
) -> GeneratorDescription:
    """What records say of ``pipe``; without ``weights`` it is the embedded model."""
    return GeneratorDescription(
        model=model,
        source=weights.source if weights else TINY_SOURCE,
        revision=weights.revision if weights else tiny_revision(),
        dtype=str(pipe.unet.dtype).removeprefix("torch."),
        device=str(pipe.device),
        note=late_start_note(pipe) if weights else TINY_NOTE,
    )


def load_pipeline(weights: Weights, dtype: torch.dtype) -> StableDiffusionXLPipeline:
    """The pipeline in ``dtype`` on the CPU, each of its tensors read from the files.

    Raises:
        WeightsError: tensors are missing, or do not fit the configs.
    """
    load = _load_single_file if weights.is_single_file else _load_folder
    try:
        return load(weights, dtype)
    except MISFITS as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(
            f"{weights.path} cannot be loaded as an SDXL pipeline: {reason}; "
            f"get it again, or pass another; {TRY_TINY}"
        ) from error


def _load_folder(weights: Weights, dtype: torch.dtype) -> StableDiffusionXLPipeline:
    networks = {name: _load_network(name, weights, dtype) for name in NETWORK_CLASSES}
    return StableDiffusionXLPipeline.from_pretrained(
        weights.path, **networks, local_files_only=True, add_watermarker=False
    )


def _load_network(name: str, weights: Weights, dtype: torch.dtype) -> torch.nn.Module:
    network: torch.nn.Module
    network, info = NETWORK_CLASSES[name].from_pretrained(
        weights.path,
        subfolder=name,
        variant=weights.variant,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    _check_complete(weights.path / name, info["missing_keys"])
    return network


def _load_single_file(weights: Weights, dtype: torch.dtype) -> StableDiffusionXLPipeline:
    pipe = StableDiffusionXLPipeline.from_single_file(
        str(weights.path),
        config=str(weights.config_dir),
        dtype=dtype,
        local_files_only=True,
        add_watermarker=False,
    )
    for name in NETWORK_CLASSES:
        parameters = getattr(pipe, name).named_parameters()
        _check_complete(weights.path, [f"{name}.{key}" for key, p in parameters if p.is_meta])
    return pipe


def _check_complete(path: Path, missing: Iterable[str]) -> None:
    if names := sorted(missing):
        raise WeightsError(
            f"{path} lacks {len(names)} of the model's tensors, such as {names[0]}; "
            f"get it again; {TRY_TINY}"
        )


def late_start_note(pipe: StableDiffusionXLPipeline) -> str | None:
    """A warning if the model's single step does not start from noise; ``None`` if it does."""
    spacing = pipe.scheduler.config.get("timestep_spacing")
    if spacing == "trailing":
        return None
    return (
        f"with its timestep_spacing of {spacing!r} the model's only step starts where hardly any "
        "noise is left to remove: expect noise; one-step models have 'trailing'"
    )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep warnings and progress bars of diffusers and transformers off the screen."""
    logs = (diffusers_logging, transformers_logging)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, (verbosity, progress_bar) in zip(logs, before, strict=True):
            log.set_verbosity(verbosity)
            if progress_bar:
                log.enable_progress_bar()
