"""The values that flags may have, and what several commands check alike."""

from typing import Literal

from challenge.errors import UsageError
from challenge.spec import DATASETS, DatasetSpec, ShrinkFilter

DatasetChoice = Literal["cifar100", "tinyimagenet", "all"]
AugmentPreset = Literal["none", "flip", "upright", "strong", "banko"]
FramingPreset = Literal["whole", "mirror", "tight", "wide"]
FramingChoice = Literal["auto", FramingPreset]
ShrinkChoice = Literal["auto", ShrinkFilter]
ClassOrder = Literal["official", "superclass"]
RunPresetName = Literal[
    "default", "banko", "banko-no-augment", "banko-ordered", "banko-ordered-no-augment"
]
DecoderChoice = Literal["auto", "vae", "taesdxl", "linear", "thumbnail"]
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
PrecisionName = Literal["float32", "bfloat16"]
DecoderName = Literal["vae", "taesdxl", "linear", "thumbnail"]
WeightsName = Literal["real", "random"]
PresetName = Literal["full-size"]
OffOn = Literal["off", "on"]
ClockName = Literal["process", "generation"]
LimitCovers = Literal["each", "all"]
FeatureName = Literal["convnet", "pixels", "resnet18", "resnet50"]

PUBLIC_MODELS = ("sdxl-turbo", "sd-turbo")  # those that generators/public_configs.py knows
LONGEST_LIMIT_S = 7 * 24 * 3600.0


def taken_prompt_preset(preset: str, model: str) -> str:
    """What ``auto`` means: the embedded model knows nouns only, real images need no words."""
    if preset != "auto":
        return preset
    return "plain" if model == "tiny" or model.startswith("images:") else "diverse"


def selected_specs(choice: DatasetChoice) -> tuple[DatasetSpec, ...]:
    """The data sets that ``--dataset`` names."""
    return tuple(DATASETS.values()) if choice == "all" else (DATASETS[choice],)


def require_count(flag: str, value: int | str) -> None:
    """Refuse a count below one; ``auto`` passes."""
    if isinstance(value, int) and value < 1:
        raise UsageError(f"{flag} {value} is not a count; give a whole number from 1, or auto")
