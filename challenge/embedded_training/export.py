"""Writes a trained pipeline as the files that come with the program, checksums last."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from challenge.embedded_training.settings import TrainingSettings
from challenge.embedded_training.stages import TrainedModel
from challenge.environment import git_commit
from challenge.generators.tiny import (
    CHECKSUMS_FILE,
    VOCABULARY_FILE,
    WEIGHTS_FILE,
    networks,
)

RECORD_FILE = "training.json"


def export_model(model: TrainedModel, settings: TrainingSettings, folder: Path) -> None:
    """Write weights (float16), vocabulary, the record of the training and the checksums.

    float16 keeps eleven bits, more than the bfloat16 in which the networks were trained.

    Raises:
        ValueError: a weight is not finite in float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{name}.{key}": tensor.detach().cpu().to(torch.float16).contiguous()
        for name, network in networks(model.pipe).items()
        for key, tensor in network.state_dict().items()
    }
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{key} is not finite in float16")
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / VOCABULARY_FILE).write_text(model.vocabulary.to_json() + "\n", "utf-8")
    (folder / RECORD_FILE).write_text(
        json.dumps(training_record(model, settings), indent=2) + "\n", "utf-8"
    )
    lines = []
    for name in (WEIGHTS_FILE, VOCABULARY_FILE):
        with (folder / name).open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    (folder / CHECKSUMS_FILE).write_text("".join(lines), "utf-8")


def training_record(model: TrainedModel, settings: TrainingSettings) -> dict[str, Any]:
    """The recipe as it was run: settings, steps of the UNet, the last device, commit, library."""
    return {
        "settings": settings.recipe(),
        "generator_steps_made": model.generator_steps,
        "device": model.device,
        "commit": git_commit(),
        "torch": torch.__version__,
    }
