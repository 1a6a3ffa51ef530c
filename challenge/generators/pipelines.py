"""Whole pipelines of diffusers, each tensor read from the files: to be measured against.

A single-file checkpoint is read this way too, since its layout is one that only diffusers knows.
"""

from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline

from challenge.generators.model_files import NETWORKS, parts_of
from challenge.generators.parts import (
    check_complete,
    explaining_misfits,
    load_network,
    noise_scheduler,
    quiet_libraries,
)
from challenge.generators.tiny import load_tiny_pipeline
from challenge.generators.weights import Weights, find_weights

# Parts of diffusers' pipelines that look at the finished picture.
OFF: dict[str, dict[str, Any]] = {
    "StableDiffusionXLPipeline": {"add_watermarker": False},
    "StableDiffusionPipeline": {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    },
}


def load_plain_pipeline(model: str, *, device: torch.device, dtype: torch.dtype) -> Any:
    """The same model as diffusers' own pipeline, as anyone loads it, to be measured against.

    Raises:
        WeightsError: the model is missing or damaged.
    """
    with quiet_libraries():
        if model == "tiny":
            pipe = load_tiny_pipeline().to(device=device, dtype=dtype)
        else:
            pipe = load_pipeline(find_weights(model), dtype).to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_pipeline(weights: Weights, dtype: torch.dtype) -> Any:
    """The whole diffusers pipeline in ``dtype`` on the CPU, each tensor read from the files.

    Raises:
        WeightsError: tensors are missing, or do not fit the configs.
    """
    load = _load_single_file if weights.is_single_file else _load_folder
    with explaining_misfits(weights):
        return load(weights, dtype)


def _load_folder(weights: Weights, dtype: torch.dtype) -> Any:
    parts: dict[str, Any] = {
        name: load_network(name, weights, dtype, torch.device("cpu"))
        for name in parts_of(weights.pipeline, NETWORKS)
    }
    if weights.options.changes_the_step:
        parts["scheduler"] = noise_scheduler(weights)
    return DiffusionPipeline.from_pretrained(
        weights.path, **parts, **OFF[weights.pipeline], local_files_only=True
    )


def _load_single_file(weights: Weights, dtype: torch.dtype) -> StableDiffusionXLPipeline:
    pipe = StableDiffusionXLPipeline.from_single_file(
        str(weights.path),
        config=str(weights.config_dir),
        dtype=dtype,
        local_files_only=True,
        add_watermarker=False,
    )
    if weights.options.changes_the_step:
        pipe.scheduler = noise_scheduler(weights)
    for name in NETWORKS:
        parameters = getattr(pipe, name).named_parameters()
        check_complete(weights.path, [f"{name}.{key}" for key, p in parameters if p.is_meta])
    return pipe
