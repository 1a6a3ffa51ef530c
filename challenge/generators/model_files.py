"""What must be in a model's files, as far as names, configs and headers tell; no torch is needed.

A pipeline folder of diffusers with all its parts, a single SDXL checkpoint in the original layout,
or a UNet with diffusers' names of tensors. What is missing, cut short or of another kind is a
``WeightsError`` that names the file.
"""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from challenge.errors import WeightsError
from challenge.generators.hub import TRY_TINY

NETWORKS = {
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "CLIPTextModelWithProjection",
}
TOKENIZERS = ("tokenizer", "tokenizer_2")
SECOND = ("text_encoder_2", "tokenizer_2")  # what SDXL has and SD-Turbo has not
PIPELINES = ("StableDiffusionXLPipeline", "StableDiffusionPipeline")

# One tensor of each part of an SDXL checkpoint in the layout of Stability-AI/generative-models.
SINGLE_FILE_PARTS = {
    "UNet": "model.diffusion_model.input_blocks.0.0.weight",
    "size conditioning": "model.diffusion_model.label_emb.0.0.weight",
    "VAE": "first_stage_model.decoder.conv_in.weight",
    "first text encoder": (
        "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight"
    ),
    "second text encoder": "conditioner.embedders.1.model.positional_embedding",
}


def parts_of(pipeline: str, names: Iterable[str]) -> tuple[str, ...]:
    """Those of ``names`` that this class of pipeline has."""
    return tuple(name for name in names if pipeline == PIPELINES[0] or name not in SECOND)


def network_files(folder: Path) -> list[Path]:
    """The files of one network that are read: the fp16 ones where there are such."""
    files = sorted(folder.glob("*.safetensors"))
    return [file for file in files if ".fp16" in file.name] or files


def check_configs(folder: Path) -> str:
    """The pipeline's class; a folder without its model_index.json or tokenizers is refused."""
    path = folder / "model_index.json"
    if not path.is_file():
        raise WeightsError(
            f"no SDXL pipeline in {folder} (model_index.json is missing); "
            f"pass the folder that holds it; {TRY_TINY}"
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON ({error}); get the model again") from error
    found = index.get("_class_name") if isinstance(index, dict) else None
    if found not in PIPELINES:
        raise WeightsError(
            f"{path}: _class_name is {found!r}, expected {' or '.join(map(repr, PIPELINES))}; "
            f"{TRY_TINY}"
        )
    for name in parts_of(found, (*NETWORKS, *TOKENIZERS, "scheduler")):
        _check_component(path, name, index.get(name))
    for name in parts_of(found, TOKENIZERS):
        _check_tokenizer(folder / name)
    return str(found)


def _check_component(index_path: Path, name: str, entry: object) -> None:
    """Refuse a component that is missing, or of a class that this program does not run."""
    class_name = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
    expected = NETWORKS.get(name, class_name)
    if class_name is None or class_name != expected:
        raise WeightsError(
            f"{index_path}: {name} is {class_name}, expected {expected or 'one'}; "
            "pass a complete SDXL pipeline"
        )


def _check_tokenizer(folder: Path) -> None:
    """Refuse a tokenizer without its vocabulary: transformers 5 would make an empty one up."""
    if not (folder / "tokenizer.json").is_file():
        for name in ("vocab.json", "merges.txt"):
            if not (folder / name).is_file():
                raise WeightsError(f"no {name} in {folder}; get the model again; {TRY_TINY}")


def read_tensor_names(path: Path) -> set[str]:
    """Names of the tensors in a .safetensors file, whose header also tells how long it must be.

    Raises:
        WeightsError: it cannot be read, is cut short, or is something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return set(file.keys())
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path} is cut short or no .safetensors file ({error}); get it again"
        ) from error


def bytes_per_value(path: Path) -> int:
    """4 for a file with float32 in it, else 2; a .bin file cannot be asked and counts as half."""
    if path.suffix == ".bin":
        return 2
    with safe_open(path, framework="numpy") as file:
        names = file.keys()
        return 4 if any(file.get_slice(name).get_dtype() == "F32" for name in names) else 2


def check_single_file(path: Path) -> None:
    """Refuse, with a ``WeightsError``, a file that is no SDXL checkpoint in the original layout."""
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path} is no .safetensors file; pass one, or a pipeline folder")
    names = read_tensor_names(path)
    missing = [part for part, name in SINGLE_FILE_PARTS.items() if name not in names]
    if missing:
        raise WeightsError(
            f"{path} is no SDXL checkpoint (no {', no '.join(missing)} in it); pass one in the "
            "original layout, such as sd_xl_turbo_1.0_fp16.safetensors, or a pipeline folder"
        )


def check_unet_file(path: Path) -> None:
    """Refuse a file that is no UNet in diffusers' layout, as far as can be told without torch."""
    if not path.is_file():
        raise WeightsError(
            f"there is no {path}; --unet takes a .safetensors or .bin file, or ORG/NAME/FILE"
        )
    if path.suffix == ".bin":
        if not zipfile.is_zipfile(path):
            raise WeightsError(f"{path} is cut short or not written by torch.save; get it again")
        return
    names = read_tensor_names(path)
    if "conv_in.weight" not in names:
        raise WeightsError(
            f"{path} is no UNet with diffusers' names of tensors (no conv_in.weight in it, but "
            f"{min(names, default='nothing')}); get the file that is made for diffusers"
        )
