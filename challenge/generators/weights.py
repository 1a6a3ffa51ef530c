"""Finds a model's files on this machine and looks them over: a wrong ``--model`` is told at once.

``--model`` names ``sdxl-turbo``, ``sd-turbo`` or another ORG/NAME in the local hub cache, a
pipeline folder (the one with model_index.json) or one .safetensors file in the original layout.
A run downloads nothing (``prepare`` may); neither torch nor diffusers is imported.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError, safe_open

from challenge.errors import WeightsError

SDXL_TURBO = "stabilityai/sdxl-turbo"
HUB_IDS = {"sdxl-turbo": SDXL_TURBO, "sd-turbo": "stabilityai/sd-turbo"}
GET_CONFIGS = f'hf download {SDXL_TURBO} --include "*.json" --include "*.txt"'
GET_SDXL_TURBO = f'{GET_CONFIGS} --include "*.fp16.safetensors"'
SMALL_DECODERS = {True: "madebyollin/taesdxl", False: "madebyollin/taesd"}  # of SDXL, of SD
FETCHED = ("*.json", "*.txt", "*.fp16.safetensors")  # of a hub repository
IMAGES_PREFIX = "images:"  # generators/images.py
TRY_TINY = "--model tiny needs no weights"
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")

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


@dataclass(frozen=True)
class Weights:
    """Where a model lies on this machine."""

    path: Path  # a pipeline folder, or a .safetensors file
    config_dir: Path  # folder of model_index.json, the configs and the tokenizers
    source: str  # for records: the path, or the hub id
    revision: str | None = None  # commit of the hub snapshot
    pipeline: str = PIPELINES[0]  # the class in model_index.json

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of its networks' folders."""
        return parts_of(self.pipeline, NETWORKS)

    @property
    def fingerprint(self) -> str:
        """What tells these weights from others: the commit, else sizes and times of the files."""
        if self.revision is not None:
            return self.revision
        stats = [(str(file), file.stat()) for file in self.files]
        facts = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    @property
    def files(self) -> list[Path]:
        """The files of weights that are read."""
        if self.is_single_file:
            return [self.path]
        return [file for name in self.networks for file in network_files(self.path / name)]

    @property
    def is_single_file(self) -> bool:
        """Whether all weights are in one .safetensors file."""
        return self.path != self.config_dir

    @property
    def variant(self) -> str | None:
        """``"fp16"`` where the folder has such files: SDXL-Turbo's own, and half to read."""
        return "fp16" if any(self.path.glob("*/*.fp16*.safetensors")) else None

    @property
    def num_bytes(self) -> int:
        """Size of the files that are read."""
        return sum(file.stat().st_size for file in self.files)


def parts_of(pipeline: str, names: Iterable[str]) -> tuple[str, ...]:
    """Those of ``names`` that this class of pipeline has."""
    return tuple(name for name in names if pipeline == PIPELINES[0] or name not in SECOND)


def network_files(folder: Path) -> list[Path]:
    """The files of one network that are read: the fp16 ones where there are such."""
    files = sorted(folder.glob("*.safetensors"))
    return [file for file in files if ".fp16" in file.name] or files


def find_weights(model: str) -> Weights:
    """The files that ``--model`` names (all but ``tiny``), whole as far as their headers tell.

    Raises:
        WeightsError: they are not on this machine, not SDXL's, or damaged.
    """
    path = Path(model).expanduser()
    if model in HUB_IDS:
        return _find_in_hub_cache(HUB_IDS[model])
    if path.is_dir():
        return _check_folder(Weights(path, path, source=str(path)))
    if path.is_file():
        return _check_single_file(path)
    if HUB_ID.fullmatch(model):
        return _find_in_hub_cache(model)
    raise WeightsError(
        f"there is no {model}; --model takes sdxl-turbo, sd-turbo, a pipeline folder, a "
        ".safetensors file, ORG/NAME in the hub cache, or tiny, which needs no weights"
    )


def _find_in_hub_cache(hub_id: str) -> Weights:
    index = _cached_index(hub_id)
    if index is None:
        command = GET_SDXL_TURBO if hub_id == SDXL_TURBO else f"hf download {hub_id}"
        raise WeightsError(
            f"{hub_id} is neither a folder here nor in the hub cache {constants.HF_HUB_CACHE}; "
            f"get it with `{command}`, or pass --model DIRECTORY; {TRY_TINY}"
        )
    snapshot = index.parent
    return _check_folder(Weights(snapshot, snapshot, source=hub_id, revision=snapshot.name))


def fetch_weights(model: str, tell: Callable[[str], None]) -> Weights:
    """The files of ``model``, downloaded first if it is a hub id that is not in the local cache.

    Raises:
        WeightsError: as ``find_weights``, or the download failed.
    """
    hub_id = HUB_IDS.get(model, model)
    is_hub_id = HUB_ID.fullmatch(hub_id) and not Path(model).expanduser().exists()
    if is_hub_id and _cached_index(hub_id) is None:
        tell(f"downloading {hub_id} to {constants.HF_HUB_CACHE}")
        try:
            snapshot_download(hub_id, allow_patterns=list(FETCHED))
        except (OSError, ValueError, HfHubHTTPError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{hub_id} cannot be downloaded: {reason}; {TRY_TINY}") from error
    return find_weights(model)


def find_small_decoder(*, of_sdxl: bool) -> Path:
    """The folder of TAESDXL or TAESD in the hub cache; ``WeightsError`` when it is not there."""
    hub_id = SMALL_DECODERS[of_sdxl]
    config = try_to_load_from_cache(hub_id, "config.json")
    if not isinstance(config, str):
        raise WeightsError(
            f"{hub_id} is not in the hub cache {constants.HF_HUB_CACHE}; get it with "
            f'`hf download {hub_id} --include "*.json" --include "*.safetensors"`, '
            "or take another --decoder"
        )
    return Path(config).parent


def _cached_index(hub_id: str) -> Path | None:
    """Path of the cached model_index.json; its folder is the snapshot, named for the commit.

    Not by ``snapshot_download(local_files_only=True)``: in huggingface_hub 2.4 that fails if files
    were left out of the download, and SDXL-Turbo's repository holds its weights several times over.
    """
    try:
        index = try_to_load_from_cache(hub_id, "model_index.json")
    except HFValidationError as error:
        raise WeightsError(f"there is no {hub_id}, and as a hub id it is wrong: {error}") from error
    return Path(index) if isinstance(index, str) else None


def _check_folder(weights: Weights) -> Weights:
    weights = replace(weights, pipeline=_check_configs(weights.path))
    for name in weights.networks:
        files = network_files(weights.path / name)
        if not files:
            raise WeightsError(
                f"no .safetensors file in {weights.path / name}; get the model again; {TRY_TINY}"
            )
        for file in files:
            read_tensor_names(file)
    return weights


def _check_configs(folder: Path) -> str:
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


def _check_single_file(path: Path) -> Weights:
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path} is no .safetensors file; pass one, or a pipeline folder")
    names = read_tensor_names(path)
    missing = [part for part, name in SINGLE_FILE_PARTS.items() if name not in names]
    if missing:
        raise WeightsError(
            f"{path} is no SDXL checkpoint (no {', no '.join(missing)} in it); pass one in the "
            "original layout, such as sd_xl_turbo_1.0_fp16.safetensors, or a pipeline folder"
        )
    return Weights(path, _find_config_dir(path), source=str(path))


def _find_config_dir(path: Path) -> Path:
    """Where the configs and tokenizers are that a single file lacks."""
    beside = path.with_name("model_index.json")
    index = beside if beside.is_file() else _cached_index(SDXL_TURBO)
    if index is None:
        raise WeightsError(
            f"{path} holds weights only; get SDXL-Turbo's configs and tokenizers with "
            f"`{GET_CONFIGS}`, or put them and model_index.json beside the file"
        )
    if _check_configs(index.parent) != PIPELINES[0]:
        raise WeightsError(f"{index} is not SDXL's, as the file {path} is; put its configs there")
    return index.parent
