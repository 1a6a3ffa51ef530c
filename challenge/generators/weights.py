"""Finds a model's files on this machine and looks them over: a wrong ``--model`` is told at once.

``--model`` names ``sdxl-turbo``, ``sd-turbo`` or another ORG/NAME in the local hub cache, a UNet of
one_step_unets.py on SDXL's base, a pipeline folder (the one with model_index.json) or one
.safetensors file in the original layout. ``--unet`` puts another UNet on any of them but the last.
A run downloads nothing (``prepare`` may); neither torch nor diffusers is imported.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache

from challenge.errors import UsageError, WeightsError
from challenge.generators.hub import NOTHING_RECORDED, TRY_TINY, Commits, HubFiles
from challenge.generators.model_files import (
    NETWORKS,
    PIPELINES,
    bytes_per_value,
    check_configs,
    check_single_file,
    check_unet_file,
    network_files,
    parts_of,
    read_tensor_names,
)
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

    def loaded_bytes(self, dtype: str) -> int:
        """Memory that the weights take in this dtype, such as "float16"."""
        values = sum(file.stat().st_size // bytes_per_value(file) for file in self.files)
        return values * (4 if dtype == "float32" else 2)


def _facts(file: Path) -> tuple[str, int, int]:
    stat = file.stat()
    return str(file), stat.st_size, stat.st_mtime_ns


def _digest(facts: list[object]) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


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
    check_unet_file(path)
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
        check_single_file(path)
        return Weights(path, _find_config_dir(path), source=str(path))
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
    weights = replace(weights, pipeline=check_configs(weights.path))
    for name in weights.networks:
        files = network_files(weights.path / name)
        if not files:
            raise WeightsError(
                f"no .safetensors file in {weights.path / name}; get the model again; {TRY_TINY}"
            )
        for file in files:
            read_tensor_names(file)
    return weights


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
    if check_configs(folder) != PIPELINES[0]:
        raise WeightsError(
            f"{folder / 'model_index.json'} is not SDXL's, as the file {path} is; put its configs "
            "there"
        )
    return folder
