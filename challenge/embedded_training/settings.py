"""What can be set of a training run; the defaults are the recipe.

They are about what the shipped weights were made with (``tiny_model/training.json``), while the
recipe grew.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from challenge.errors import UsageError
from challenge.settings.choices import require_seed

NOT_THE_RECIPE = ("data", "out", "device", "export_now", "save_every_s")
FEWEST = {
    "feature_steps": 1,
    "text_steps": 1,
    "vae_steps": 1,
    "pixel_judge_steps": 1,
    "generator_steps": 1,
    "class_means_steps": 1,
    "drawn_for_means": 1,
    "cifar_only_steps": 0,
    "early_steps": 0,
    "classes_per_step": 2,
    "made_per_class": 2,
    "real_per_class": 2,
}
POSITIVE = ("learning_rate", "save_every_s")
WEIGHTS = ("pixel_weight", "early_class_weight", "class_weight")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Train the embedded model from the public training images; goes on where it was stopped."""

    data: Path
    """Folder with cifar-100-python/ and tiny-imagenet-200/; as many images of each class as all
    have.
    """
    out: Path
    """Folder for checkpoints, logs, samples and the finished model; may hold an earlier run."""
    seed: int = 0
    """Seed of initialisation, data order, noise and prompts."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N. Never run on a real GPU yet."""
    feature_steps: int = 3500
    """Steps of each of the two feature networks (128 images a step)."""
    text_steps: int = 1500
    """Steps of the text encoders (128 prompts a step)."""
    vae_steps: int = 2000
    """Steps of the decoder, and of the encoder (32 squares of 16x16 pixels a step)."""
    generator_steps: int = 16000
    """Steps of the UNet (128 images a step)."""
    cifar_only_steps: int = 3000
    """The first of them, on CIFAR-100 alone; after them the data sets take turns."""
    pixel_judge_steps: int = 600
    """Steps of each of the networks that judge pixels (128 images of CIFAR-100 a step)."""
    pixel_weight: float = 1.0
    """Weight of the drifting losses in what those see, beside those in latents and features."""
    learning_rate: float = 1e-3
    """Of the UNet; it falls to a twentieth over the last quarter of the steps."""
    early_steps: int = 750
    """Steps of each data set in which its classes are learnt roughly, with the next weight."""
    early_class_weight: float = 0.2
    """Weight of the feature network's cross-entropy beside the drifting losses, early."""
    class_weight: float = 0.05
    """The same, later: more of it makes the pictures of a class alike."""
    class_means_steps: int = 1000
    """Steps in which a copy of the UNet learns to draw classes with the real mean pictures (64
    images).
    """
    drawn_for_means: int = 1024
    """Images of each class that are drawn to see by how much the means differ."""
    classes_per_step: int = 8
    """Classes in a step of the UNet."""
    made_per_class: int = 16
    """Images made of each of them."""
    real_per_class: int = 48
    """Real images of each of them that those are compared with."""
    export_now: bool = False
    """Train the UNet no further: write the model as the last checkpoint has it, once its classes'
    means are moved to the real ones.
    """
    save_every_s: float = 120.0
    """Seconds between checkpoints; a killed run loses no more, or a judge of pixels, or the means
    of a data set's classes.
    """

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        return {key: value for key, value in asdict(self).items() if key not in NOT_THE_RECIPE}

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be."""
        for name, fewest in FEWEST.items():
            if getattr(self, name) < fewest:
                _refuse(name, f"{getattr(self, name)} is too few; give at least {fewest}")
        for name in POSITIVE:
            if not 0 < getattr(self, name) < math.inf:
                _refuse(name, f"{getattr(self, name):g} cannot be; give a number above 0")
        for name in WEIGHTS:
            if not 0 <= getattr(self, name) < math.inf:
                _refuse(name, f"{getattr(self, name):g} is no weight; give 0 or more")
        require_seed(self.seed)


def _refuse(name: str, why: str) -> NoReturn:
    raise UsageError(f"--{name.replace('_', '-')} {why}")
