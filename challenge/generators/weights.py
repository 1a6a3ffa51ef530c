"""Finds a model's files on this machine and looks them over: a wrong ``--model`` is told at once.

``--model`` names ``sdxl-turbo``, ``sd-turbo`` or another ORG/NAME in the local hub cache, a UNet of
one_step_unets.py on SDXL's base, a pipeline folder (the one with model_index.json) or one
.safetensors file in the original layout. ``--unet`` puts another UNet on any of them but the last.
A run downloads nothing (``prepare`` may); neither torch nor diffusers is imported.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache
from safetensors import SafetensorError, safe_open

from challenge.errors import UsageError, WeightsError
from challenge.generators.hub import NOTHING_RECORDED, TRY_TINY, Commits, HubFiles
from challenge.generators.one_step_unets import ONE_STEP_UNETS, SDXL_BASE
from challenge.settings import NO_OPTIONS, ModelOptions

SDXL_TURBO = "stabilityai/sdxl-turbo"
HUB_IDS = {"sdxl-turbo": SDXL_TURBO, "sd-turbo": "stabilityai/sd-turbo"}
SMALL_DECODERS = {True: "madebyollin/taesdxl", False: "madebyollin/taesd"}  # of SDXL, of SD
FETCHED = ("*.json", "*.txt", "*.fp16.safetensors")  # of a hub repository
IMAGES_PREFIX = "images:"  # generators/images.py
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
HUB_FILE = re.compile(r"(\w[\w.-]*/[\w.-]+)/([\w./-]+)(?:@([\w./-]+))?")
PREPARE = "python run_challenge.py prepare"

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
    revision: str | None = None  # commit of the hub snapshot in which ``path`` is
    pipeline: str = PIPELINES[0]  # the class in model_index.json
    options: ModelOptions = NO_OPTIONS  # how the UNet and its step differ from the pipeline's
    unet_file: Path | None = None  # instead of the pipeline's own
    unet_commit: str | None = None  # of the hub snapshot in which ``unet_file`` is
    commits: Commits = field(default_factory=dict)  # of all hub repositories read

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks' folders that are read."""
        names = parts_of(self.pipeline, NETWORKS)
        return names if self.unet_file is None else tuple(n for n in names if n != "unet")

    @property
    def fingerprint(self) -> str:
        """What tells these weights from others: the commit, else sizes and times of the files.

        With another UNet, or another way to take its step, all of that together.
        """
        base = self.revision or _digest([_facts(file) for file in self._base_files])
        if not self.options.changes_the_step:
            return base
        unet: object = None
        if self.unet_file is not None:
            on_the_hub = self.unet_commit is not None
            unet = (self.unet_name, self.unet_commit) if on_the_hub else _facts(self.unet_file)
        return _digest([base, unet, self.options.timestep, self.options.prediction_type])

    @property
    def unet_name(self) -> str:
        """``--unet`` without the revision."""
        assert self.options.unet is not None
        return self.options.unet.partition("@")[0]

    @property
    def files(self) -> list[Path]:
        """The files of weights that are read, the UNet's first."""
        return [*([self.unet_file] if self.unet_file else []), *self._base_files]

    @property
    def _base_files(self) -> list[Path]:
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


def _facts(file: Path) -> tuple[str, int, int]:
    stat = file.stat()
    return str(file), stat.st_size, stat.st_mtime_ns


def _digest(facts: list[object]) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def parts_of(pipeline: str, names: Iterable[str]) -> tuple[str, ...]:
    """Those of ``names`` that this class of pipeline has."""
    return tuple(name for name in names if pipeline == PIPELINES[0] or name not in SECOND)


def network_files(folder: Path) -> list[Path]:
    """The files of one network that are read: the fp16 ones where there are such."""
    files = sorted(folder.glob("*.safetensors"))
    return [file for file in files if ".fp16" in file.name] or files


def find_weights(
    model: str, options: ModelOptions = NO_OPTIONS, recorded: Commits = NOTHING_RECORDED
) -> Weights:
    """The files that ``--model`` names (all but ``tiny``), whole as far as their headers tell.

    ``recorded`` are the commits that ``prepare`` recorded of hub repositories.

    Raises:
        UsageError: options that a file or a folder has no use for.
        WeightsError: they are not on this machine, not SDXL's, or damaged.
    """
    how_to_get = _how_to_get(model, options)
    base, options = _base_and_options(model, options)
    weights = _find_base(base, _pipeline_on_the_hub(model, options), recorded, how_to_get)
    weights = replace(weights, options=options)
    if options.revision is not None and weights.revision is None:
        raise UsageError(f"--revision is of a hub repository, and {model} is none")
    if options.unet is None:
        return weights if weights.is_single_file else _check_folder(weights)
    if weights.is_single_file:
        raise UsageError(f"--unet goes onto a pipeline folder or a hub id, not onto {model}")
    unet = _unet_on_the_hub(options.unet)
    path, unet_commit, commits = Path(options.unet).expanduser(), None, weights.commits
    if unet is not None:
        snapshot = unet.find(recorded, how_to_get)
        path, unet_commit = snapshot / unet.file, snapshot.name
        commits = {**commits, unet.hub_id: unet_commit}
    _check_unet_file(path)
    return _check_folder(replace(weights, unet_file=path, unet_commit=unet_commit, commits=commits))


def _how_to_get(model: str, options: ModelOptions) -> str:
    flags = [("--model", model), ("--revision", options.revision), ("--unet", options.unet)]
    return " ".join([PREPARE, *(f"{flag} {value}" for flag, value in flags if value is not None)])


def _base_and_options(model: str, options: ModelOptions) -> tuple[str, ModelOptions]:
    """The pipeline that ``model`` means, and what is different about it."""
    if model in ONE_STEP_UNETS:
        return SDXL_BASE, ONE_STEP_UNETS[model].options(options)
    return HUB_IDS.get(model, model), options


def _find_base(
    model: str, on_the_hub: HubFiles | None, recorded: Commits, how_to_get: str
) -> Weights:
    """The pipeline's place; its files are looked over later."""
    path = Path(model).expanduser()
    if on_the_hub is not None:
        snapshot = on_the_hub.find(recorded, how_to_get)
        commits = {model: snapshot.name}
        return Weights(snapshot, snapshot, model, revision=snapshot.name, commits=commits)
    if path.is_dir():
        return Weights(path, path, source=str(path))
    if path.is_file():
        return _check_single_file(path)
    names = ", ".join((*HUB_IDS, *ONE_STEP_UNETS))
    raise WeightsError(
        f"there is no {model}; --model takes {names}, a pipeline folder, a "
        ".safetensors file, ORG/NAME in the hub cache, or tiny, which needs no weights"
    )


def _pipeline_on_the_hub(model: str, options: ModelOptions) -> HubFiles | None:
    """What to have of the model's repository; None if there is such a path here, or no such id."""
    base, options = _base_and_options(model, options)
    is_path = base == model and Path(model).expanduser().exists()
    if is_path or not HUB_ID.fullmatch(base):
        return None
    not_wanted = () if options.unet is None else ("unet/*.safetensors",)
    return HubFiles(base, "model_index.json", options.revision, FETCHED, not_wanted)


def _unet_on_the_hub(unet: str) -> HubFiles | None:
    """The file in its repository; None if there is such a path here, or it is no hub file."""
    match = HUB_FILE.fullmatch(unet)
    if match is None or Path(unet).expanduser().is_file():
        return None
    hub_id, file, revision = match.groups()
    return HubFiles(hub_id, file, revision, (file,))


def fetch_weights(
    model: str,
    tell: Callable[[str], None],
    options: ModelOptions = NO_OPTIONS,
    recorded: Commits = NOTHING_RECORDED,
) -> Weights:
    """As ``find_weights``, but what is not in the local hub cache is downloaded first.

    Raises:
        WeightsError: as ``find_weights``, or a download failed.
    """
    unet_name = _base_and_options(model, options)[1].unet
    unet = None if unet_name is None else _unet_on_the_hub(unet_name)
    needed = [each for each in (_pipeline_on_the_hub(model, options), unet) if each is not None]
    if not any(each.may_have_moved for each in needed):
        try:
            return find_weights(model, options, recorded)
        except WeightsError:
            if not needed:
                raise
    for each in needed:
        each.download(recorded, tell)
    return find_weights(model, options, recorded)


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
    folder = path.parent
    if not (folder / "model_index.json").is_file():
        turbo = HubFiles(SDXL_TURBO, "model_index.json", None, FETCHED)
        try:
            folder = turbo.find(NOTHING_RECORDED, f"{PREPARE} --model sdxl-turbo")
        except WeightsError as error:
            raise WeightsError(
                f"{path} holds weights only; get SDXL-Turbo's configs and tokenizers with "
                f"`{PREPARE} --model sdxl-turbo`, or put them and model_index.json beside the file"
            ) from error
    if _check_configs(folder) != PIPELINES[0]:
        raise WeightsError(
            f"{folder / 'model_index.json'} is not SDXL's, as the file {path} is; put its configs "
            "there"
        )
    return folder


def _check_unet_file(path: Path) -> None:
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
