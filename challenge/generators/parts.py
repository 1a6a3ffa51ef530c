"""The parts of a model, each read from its files to the device when it is first asked for.

A run with stored prompt embeddings never asks for a text encoder, and one with stored decoders
never for the VAE. It has the attributes of a diffusers pipeline that a generator uses, so either
can stand for the other. What the libraries would make up is a ``WeightsError`` here.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import diffusers
import diffusers.utils.logging as diffusers_logging
import torch
import transformers
import transformers.utils.logging as transformers_logging
from diffusers import EulerDiscreteScheduler, LCMScheduler
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from challenge.errors import WeightsError, first_line
from challenge.generators.hub import TRY_TINY
from challenge.generators.model_files import NETWORKS, TOKENIZERS, parts_of
from challenge.generators.one_step import PREDICTION_TYPES
from challenge.generators.unet_file import load_unet_file
from challenge.generators.weights import Weights

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


class Parts(ABC):
    """Networks that come to the device one by one, when they are first asked for.

    ``text_encoder`` and ``text_encoder_2`` may be set to None, to free them: a device that holds
    them or the UNet, but not both at a time, is large enough.
    """

    device: torch.device
    dtype: torch.dtype
    scheduler: Any
    unet_config: Mapping[str, Any]
    vae_config: Mapping[str, Any]

    @cached_property
    def unet(self) -> Any:
        """The UNet."""
        return self._network("unet")

    @cached_property
    def vae(self) -> Any:
        """The VAE."""
        return self._network("vae")

    @cached_property
    def text_encoder(self) -> Any:
        """The first text encoder, or the only one."""
        return self._network("text_encoder")

    @cached_property
    def text_encoder_2(self) -> Any:
        """The second text encoder."""
        return self._network("text_encoder_2")

    @abstractmethod
    def _network(self, name: str) -> torch.nn.Module:
        """One network on the device."""


class PipelineParts(Parts):
    """The parts of a pipeline that was loaded whole, on the CPU; it must not be used any more."""

    def __init__(self, pipe: Any, device: torch.device) -> None:
        self.device, self.dtype = device, pipe.unet.dtype
        self.scheduler = pipe.scheduler
        self.tokenizer, self.tokenizer_2 = pipe.tokenizer, pipe.tokenizer_2
        self.unet_config, self.vae_config = pipe.unet.config, pipe.vae.config
        self._on_the_cpu = {name: getattr(pipe, name) for name in NETWORKS}

    def _network(self, name: str) -> torch.nn.Module:
        network: torch.nn.Module = self._on_the_cpu.pop(name).to(self.device)
        return network


class FolderParts(Parts):
    """The parts of the pipeline in a folder; only configs are read at once."""

    def __init__(self, weights: Weights, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self._weights = weights
        with quiet_libraries(), explaining_misfits(weights):
            self.scheduler = noise_scheduler(weights)
            self.unet_config, self.vae_config = (
                json.loads((weights.path / name / "config.json").read_text("utf-8"))
                for name in ("unet", "vae")
            )

    @cached_property
    def tokenizer(self) -> Any:
        """The first text encoder's."""
        return self._tokenizer("tokenizer")

    @cached_property
    def tokenizer_2(self) -> Any:
        """The second text encoder's; None where there is only one."""
        names = parts_of(self._weights.pipeline, TOKENIZERS)
        return self._tokenizer("tokenizer_2") if "tokenizer_2" in names else None

    def _tokenizer(self, name: str) -> Any:
        from transformers import CLIPTokenizer

        with quiet_libraries(), explaining_misfits(self._weights):
            return CLIPTokenizer.from_pretrained(self._weights.path / name)

    def _network(self, name: str) -> torch.nn.Module:
        weights = self._weights
        with quiet_libraries(), explaining_misfits(weights):
            return load_network(name, weights, self.dtype, self.device)


def noise_scheduler(weights: Weights) -> Any:
    """The folder's noise scheduler, or the one that takes the step that was asked for instead.

    Its betas are the folder's all the same. A timestep of one's own is LCMScheduler's way; another
    UNet, or another prediction, starts from the noisiest timestep, as EulerDiscreteScheduler does
    with trailing spacing. One that no step is known for is a ``WeightsError``.
    """
    folder, options = weights.config_dir, weights.options
    if options.changes_the_step:
        found = EulerDiscreteScheduler.from_pretrained(
            folder, subfolder="scheduler", local_files_only=True
        ).config
        changes = {"prediction_type": options.prediction_type or found.prediction_type}
        if options.timestep is not None:
            return LCMScheduler.from_config(found, **changes)
        return EulerDiscreteScheduler.from_config(found, timestep_spacing="trailing", **changes)
    class_name = json.loads((folder / "model_index.json").read_text("utf-8"))["scheduler"][1]
    for kind in PREDICTION_TYPES:
        if kind.__name__ == class_name:
            return kind.from_pretrained(folder, subfolder="scheduler", local_files_only=True)
    raise WeightsError(
        f"the model's noise scheduler is {class_name}, which this program cannot run in one "
        f"step; expected {' or '.join(known.__name__ for known in PREDICTION_TYPES)}"
    )


def load_network(
    name: str, weights: Weights, dtype: torch.dtype, device: torch.device
) -> torch.nn.Module:
    """One network of a folder, with each of its tensors read from the files to ``device``.

    ``unet`` is read from a file of its own where ``weights`` says so.
    """
    network: torch.nn.Module
    if name == "unet" and weights.unet_file is not None:
        network, missing = load_unet_file(weights.unet_file, weights.path / name, dtype, device)
        check_complete(weights.unet_file, missing)
        return network.eval()
    network, info = _network_class(name).from_pretrained(
        weights.path,
        subfolder=name,
        variant=weights.variant,
        dtype=dtype,
        device_map={"": device} if device.type == "cuda" else None,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    check_complete(weights.path / name, info["missing_keys"])
    return network.eval()


def _network_class(name: str) -> Any:
    """The class, imported when it is first needed: VAEs and text encoders take long."""
    library = diffusers if name in ("unet", "vae") else transformers
    return getattr(library, NETWORKS[name])


def check_complete(path: Path, missing: Iterable[str]) -> None:
    """Refuse, with a ``WeightsError``, files that lack tensors, instead of making them up."""
    if names := sorted(missing):
        raise WeightsError(
            f"{path} lacks {len(names)} of the model's tensors, such as {names[0]}; "
            f"get it again; {TRY_TINY}"
        )


@contextmanager
def explaining_misfits(weights: Weights) -> Iterator[None]:
    """Turn what the libraries raise into a ``WeightsError`` of one line."""
    try:
        yield
    except MISFITS as error:
        raise WeightsError(
            f"{weights.path} cannot be loaded as an SDXL pipeline: {first_line(error)}; "
            f"get it again, or pass another; {TRY_TINY}"
        ) from error


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
