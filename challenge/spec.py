"""The facts of the challenge: data sets, rules, the evaluator's numbers, with sources.

Nothing here is a choice of ours. The challenge is the First Dataset Distillation Challenge (ECCV
2024), generative track. Two public repositories are quoted:

* official: DataDistillation/ECCV2024-Dataset-Distillation-Challenge @a6ca5cb (README.md,
evaluate.py, utils/) * runner-up: FanJunqiao/DD_Track2 @7f33fdc (evaluate.py)
"""

from dataclasses import dataclass
from typing import Literal

DatasetName = Literal["cifar100", "tinyimagenet"]
LabelOrder = Literal["sorted", "wnids-txt"]
ProtocolName = Literal["official", "short", "quick"]
ShrinkFilter = Literal["bilinear", "box", "bicubic", "lanczos"]
NetworkName = Literal["convnet3", "convnet4", "resnet18", "resnetap10"]


@dataclass(frozen=True)
class DatasetSpec:
    """One data set; ``mean`` and ``std`` are for pixels in [0, 1], channels R, G, B."""

    name: DatasetName
    title: str
    num_classes: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def file_name(self) -> str:
        """Name of the submission file (official README, sample submission)."""
        return f"{self.name}.pt"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image, channels first."""
        return (3, self.image_size, self.image_size)


# Normalisation: official evaluate.py, comment at its head.
CIFAR100 = DatasetSpec(
    name="cifar100",
    title="CIFAR-100",
    num_classes=100,
    image_size=32,
    mean=(0.5071, 0.4866, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)
TINYIMAGENET = DatasetSpec(
    name="tinyimagenet",
    title="Tiny-ImageNet",
    num_classes=200,
    image_size=64,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
DATASETS: dict[DatasetName, DatasetSpec] = {spec.name: spec for spec in (CIFAR100, TINYIMAGENET)}


@dataclass(frozen=True)
class ColourLook:
    """How colourful the images of a set are; ``colour.measure_look`` says how it is measured.

    ``saturation`` is the median, ``spread`` the standard deviation of its logarithm (from the
    quartiles); ``balance`` is the mean of red, green and blue less grey.
    """

    saturation: float
    spread: float
    balance: tuple[float, float, float]


# Measured with colour.measure_look on training images (25,000 and 20,000); no test image was used.
LOOKS: dict[DatasetName, ColourLook] = {
    "cifar100": ColourLook(0.338, 0.75, (0.029, 0.008, -0.037)),
    "tinyimagenet": ColourLook(0.291, 0.68, (0.038, 0.006, -0.044)),
}

LIMIT_S = 600.0  # runner-up evaluate.py: ten minutes for each data set
OFFICIAL_IPC = (
    10  # official evaluate.py asserts N == 10 * classes; other counts need ipc = N // classes
)


@dataclass(frozen=True)
class EvaluatorSpec:
    """The official network and optimiser (official evaluate.py and utils/network.py)."""

    depth: int = 3  # also at 64x64
    width: int = 128
    batch_size: int = 256
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    learning_rate_drop: float = 0.1  # with a NEW optimizer: the momentum is lost


@dataclass(frozen=True)
class Protocol:
    """How long the evaluator trains, and how often.

    Either ``epochs`` is given and the learning rate drops after epoch index (epochs - 1) // 2 + 1,
    or ``updates`` (optimizer steps) is given and it drops after half of them.
    """

    name: ProtocolName
    rounds: int
    epochs: int | None = None
    updates: int | None = None
    comparable: bool = True  # to published numbers

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.updates is None):
            raise ValueError(f"protocol {self.name}: give epochs or updates, not both")


EVALUATOR = EvaluatorSpec()
PROTOCOLS: dict[ProtocolName, Protocol] = {
    # official evaluate.py: epochs 0..1000, drop after epoch 501, mean of 3 rounds
    "official": Protocol("official", rounds=3, epochs=1001),
    # runner-up evaluate.py: 100 (+1) epochs, drop after epoch 51
    "short": Protocol("short", rounds=3, epochs=101),
    # ours, for a CPU
    "quick": Protocol("quick", rounds=1, updates=400, comparable=False),
}

# official utils/utils.py: class ParamDiffAug, and the strategy that evaluate.py passes
DSA_STRATEGIES = ("color", "crop", "cutout", "flip", "scale", "rotate")


@dataclass(frozen=True)
class DsaSpec:
    """Parameters of differentiable Siamese augmentation (official utils/utils.py, ParamDiffAug)."""

    flip_probability: float = 0.5
    scale_ratio: float = 1.2
    rotate_degrees: float = 15.0
    crop_pad_ratio: float = 0.125
    cutout_ratio: float = 0.5
    brightness: float = 1.0
    saturation: float = 2.0
    contrast: float = 0.5


DSA = DsaSpec()
