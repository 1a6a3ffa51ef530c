"""``--model tiny``: a small one-step generator in SDXL's clothes that comes with the program.

It has every part that SDXL-Turbo has, so a run with it takes the same way as a real one, on any CPU
and without a download. ``challenge/embedded_training`` made its weights from the public training
images of CIFAR-100 and Tiny-ImageNet; what it is good for says the card in ``tiny_model/``.

It paints at the target's own size, 32 or 64 pixels. Its tokenizers know a fixed vocabulary and
every byte, so any prompt can be read, and a prompt has the same tokens in every run.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from challenge.errors import WeightsError
from challenge.generators.tiny_networks import (
    PROMPT_TOKENS,
    build_unet,
    build_vae,
    noise_scheduler,
    text_config,
)

TINY_MODEL_DIR = Path(__file__).resolve().parent / "tiny_model"
CHECKSUMS_FILE = "SHA256SUMS"  # as sha256sum writes it
WEIGHTS_FILE = "weights.safetensors"
VOCABULARY_FILE = "vocabulary.json"
TINY_SOURCE = "built in (challenge/generators/tiny_model)"
TINY_NOTE = (
    "tiny is a small model trained on the training images of CIFAR-100 and Tiny-ImageNet: it draws "
    "the classes of the first coarsely and those of the second vaguely"
)
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
GET_AGAIN = "install the program again, or check its files out again"


@dataclass(frozen=True)
class Vocabulary:
    """A byte-pair vocabulary of CLIP's kind: token ids, and merges by rank."""

    token_ids: dict[str, int]
    merges: list[tuple[str, str]]

    def tokenizer(self, pad_token: str) -> CLIPTokenizer:
        """The tokenizer; SDXL's first one pads with the end token, its second with ``!``."""
        return CLIPTokenizer(
            self.token_ids,
            self.merges,  # type: ignore[arg-type]  # annotated as strings, but pairs is what it takes
            pad_token=pad_token,
            model_max_length=PROMPT_TOKENS,
        )

    def to_json(self) -> str:
        """One merge a line, so that a change of the file can be read."""
        return json.dumps({"token_ids": self.token_ids, "merges": self.merges}, indent=0)

    @classmethod
    def from_json(cls, text: str) -> "Vocabulary":
        """What ``to_json`` wrote."""
        content = json.loads(text)
        return cls(content["token_ids"], [(left, right) for left, right in content["merges"]])


def load_tiny_pipeline(folder: Path = TINY_MODEL_DIR) -> StableDiffusionXLPipeline:
    """The pipeline in float32 on the CPU, from files whose checksums were found right.

    Raises:
        WeightsError: a file is missing or damaged, or does not fit the networks.
    """
    verify_checksums(folder)
    pipe = build_pipeline(Vocabulary.from_json((folder / VOCABULARY_FILE).read_text("utf-8")))
    fill(pipe, folder / WEIGHTS_FILE)
    return pipe


def tiny_tokenizer(folder: Path = TINY_MODEL_DIR) -> CLIPTokenizer:
    """The first tokenizer alone, to count tokens with."""
    vocabulary = Vocabulary.from_json((folder / VOCABULARY_FILE).read_text("utf-8"))
    return vocabulary.tokenizer(pad_token=EOS)


def verify_checksums(folder: Path) -> None:
    """Compare each file that SHA256SUMS names with its checksum.

    Raises:
        WeightsError: one is missing or differs.
    """
    try:
        lines = (folder / CHECKSUMS_FILE).read_text("utf-8").splitlines()
        for line in lines:
            expected, _, name = line.partition("  ")
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != expected:
                raise WeightsError(
                    f"{folder / name} is damaged: its sha256 is {found[:12]}..., "
                    f"expected {expected[:12]}...; {GET_AGAIN}"
                )
    except OSError as error:
        raise WeightsError(
            f"{error.filename} cannot be read ({error.strerror}); {GET_AGAIN}"
        ) from error


def tiny_revision(folder: Path = TINY_MODEL_DIR) -> str:
    """What records name the weights by: the start of their checksum."""
    sums = (folder / CHECKSUMS_FILE).read_text("utf-8").splitlines()
    (checksum,) = (line.split()[0] for line in sums if line.endswith(WEIGHTS_FILE))
    return checksum[:12]


def build_pipeline(vocabulary: Vocabulary) -> StableDiffusionXLPipeline:
    """The pipeline with weights that nothing was put into yet; torch's global rng is left alone."""
    ids = vocabulary.token_ids
    with torch.random.fork_rng(devices=[]):
        pipe = StableDiffusionXLPipeline(
            vae=build_vae(),
            text_encoder=CLIPTextModel(text_config(ids[BOS], ids[EOS])),
            text_encoder_2=CLIPTextModelWithProjection(text_config(ids[BOS], ids[EOS])),
            tokenizer=vocabulary.tokenizer(pad_token=EOS),
            tokenizer_2=vocabulary.tokenizer(pad_token="!"),
            unet=build_unet(),
            scheduler=noise_scheduler(),
            add_watermarker=False,
        )
    for network in networks(pipe).values():
        network.eval()
    return pipe


def networks(pipe: StableDiffusionXLPipeline) -> dict[str, nn.Module]:
    """The four networks by the names that their tensors begin with in the weights file."""
    names = ("unet", "vae", "text_encoder", "text_encoder_2")
    return {name: getattr(pipe, name) for name in names}


def fill(pipe: StableDiffusionXLPipeline, path: Path) -> None:
    """Put the file's tensors (float16) into the networks (float32), each in its place.

    Raises:
        WeightsError: the file is no safetensors file, or a tensor is missing, left over or of
            another shape.
    """
    try:
        tensors = load_file(path)
        for name, network in networks(pipe).items():
            network.load_state_dict(_pop_network(tensors, name))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path} does not fit the embedded model: {reason}; {GET_AGAIN}"
        ) from error
    if tensors:
        raise WeightsError(f"{path} holds {min(tensors)}, which no network has; {GET_AGAIN}")


def _pop_network(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Take out the tensors of one network, without the prefix."""
    mine = [key for key in tensors if key.startswith(f"{name}.")]
    return {key.removeprefix(f"{name}."): tensors.pop(key) for key in mine}
