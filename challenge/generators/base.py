"""What a run expects of a generator, and nothing of how one works.

A generator turns a prompt and a seed into a picture. The same seed gives the same noise in every
batch. The pixels may differ between batch sizes by the rounding of the arithmetic: in float32 by at
most one uint8 level.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class GeneratorDescription:
    """What a record must say about the model that made the pictures."""

    model: str  # as given to --model
    source: str  # where the weights came from: a folder, a file or a hub id
    revision: str | None  # commit of the hub snapshot with the UNet
    dtype: str  # of the UNet, such as "float16"
    device: str
    quantize: str = "none"  # its linear layers
    decoder: str = "vae"
    note: str | None = None  # what the user must be told, in plain words
    fingerprint: str | None = None  # of the weights; what is kept of a model is kept under it
    commits: Mapping[str, str] = field(default_factory=dict)  # of all hub repositories, by hub id
    timestep: float | None = None  # at which the only step is taken
    prediction_type: str | None = None  # of the UNet, in diffusers' word


class ImageGenerator(Protocol):
    """Makes pictures of prompts, each of which is encoded once beforehand."""

    @property
    def description(self) -> GeneratorDescription:
        """Which model this is."""

    def image_size(self, target_size: int) -> int:
        """Side in pixels of the pictures to make for a target of this size; never smaller."""

    def encode_prompts(self, prompts: Sequence[str]) -> None:
        """Encode those of ``prompts`` that are not encoded yet, each distinct one once.

        Raises:
            PromptError: a prompt is longer than the model reads.
        """

    def release_text_encoders(self) -> None:
        """Give back the memory of what only ``encode_prompts`` needs; what is encoded stays."""

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], image_size: int
    ) -> Float[Tensor, "B 3 S S"]:
        """One picture for each prompt and seed: float32 in [0, 1], on the device.

        Raises:
            ValueError: a prompt is not encoded, or there are not as many seeds as prompts.
        """
