"""Which of a model's files a run will read, told by what ``prepare`` kept: before torch is there.

Only for reading ahead: a wrong guess costs a little reading and nothing else.
"""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from challenge.generators.weights import Weights
from challenge.settings import GenerateSettings

TEXT_ENCODERS = ("text_encoder", "text_encoder_2")


def files_of_a_run(
    settings: GenerateSettings, weights: Weights, prepared_dir: Path | None
) -> list[Path]:
    """The UNet's files first; text encoders and VAE only where nothing is kept instead of them."""
    if weights.is_single_file or prepared_dir is None:
        return weights.files
    unneeded: list[str] = []
    embedded = {owner.get("dataset") for owner in _owners(prepared_dir, "embeddings", weights)}
    if embedded >= {spec.name for spec in settings.specs}:
        unneeded += TEXT_ENCODERS
    may_be_fitted = settings.decoder in ("auto", "linear", "thumbnail")
    if may_be_fitted and _owners(prepared_dir, "decoder", weights):
        unneeded.append("vae")
    return [file for file in weights.files if file.parent.name not in unneeded]


def _owners(folder: Path, kind: str, weights: Weights) -> list[dict[str, object]]:
    """What the files of this kind say that they belong to, those of these weights."""
    found = []
    for path in folder.glob(f"{kind}-*.safetensors"):
        try:
            with safe_open(path, framework="numpy") as file:
                owner = json.loads((file.metadata() or {})["owner"])
            if owner["weights"] == weights.fingerprint:
                found.append(owner)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            continue  # the run will tell what is wrong with it
    return found
