"""The values that flags may have, and what several commands check alike."""

from dataclasses import dataclass
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
QuantizeName = Literal["none", "fp8", "fp8-weights", "int8-weights"]
AutoOffOn = Literal["auto", "on", "off"]
ClockName = Literal["process", "generation"]
LimitCovers = Literal["each", "all"]
FeatureName = Literal["convnet", "pixels", "resnet18", "resnet50"]
PredictionType = Literal["epsilon", "v_prediction", "sample"]
StepCount = Literal[1, 2, 4]

PUBLIC_MODELS = ("sdxl-turbo", "sd-turbo")  # those that generators/public_configs.py knows
ONE_STEP_UNETS = ("sdxl-lightning", "hyper-sdxl", "dmd2")  # generators/one_step_unets.py
TRAIN_TIMESTEPS = 1000  # of Stable Diffusion and SDXL: the noisiest is 999
LARGEST_SEED = 2**63 - 1
LONGEST_LIMIT_S = 7 * 24 * 3600.0


@dataclass(frozen=True)
class ModelOptions:
    """What is asked of a model beside its name; None is what the model itself has."""

    revision: str | None = None
    unet: str | None = None
    timestep: int | None = None
    prediction_type: PredictionType | None = None

    @property
    def changes_the_step(self) -> bool:
        """Whether the UNet, or how its only step is taken, is another than the model's own."""
        return any(each is not None for each in (self.unet, self.timestep, self.prediction_type))


NO_OPTIONS = ModelOptions()


def require_model_options(model: str, options: ModelOptions, num_inference_steps: int) -> None:
    """Refuse options that contradict the model, each other or the number of steps."""
    files = model != "tiny" and not model.startswith("images:")
    if not files and options != NO_OPTIONS:
        raise UsageError(
            f"--revision, --unet, --timestep and --prediction-type change a model of files, and "
            f"--model is {model}; leave them away"
        )
    if model in ONE_STEP_UNETS and options.unet is not None:
        raise UsageError(f"--model {model} is a UNet itself; give --unet with its base as --model")
    if options.timestep is not None and not 0 <= options.timestep < TRAIN_TIMESTEPS:
        raise UsageError(
            f"--timestep {options.timestep} is none; give one from 0 to {TRAIN_TIMESTEPS - 1}"
        )
    if num_inference_steps > 1 and (model in ONE_STEP_UNETS or options.timestep is not None):
        which = f"--model {model}" if model in ONE_STEP_UNETS else "--timestep"
        raise UsageError(
            f"--num-inference-steps {num_inference_steps}: {which} is of a single step; give 1"
        )


def taken_prompt_preset(preset: str, model: str) -> str:
    """What ``auto`` means: the embedded model knows nouns only, real images need no words."""
    if preset != "auto":
        return preset
    return "plain" if model == "tiny" or model.startswith("images:") else "diverse"


def selected_specs(choice: DatasetChoice) -> tuple[DatasetSpec, ...]:
    """The data sets that ``--dataset`` names."""
    return tuple(DATASETS.values()) if choice == "all" else (DATASETS[choice],)


def require_count(flag: str, value: int) -> None:
    """Refuse a count below one."""
    if value < 1:
        raise UsageError(f"{flag} {value} is not a count; give a whole number from 1")


def require_count_or_auto(flag: str, value: int | str) -> None:
    """The same for a flag that takes ``auto`` too."""
    if isinstance(value, int) and value < 1:
        raise UsageError(f"{flag} {value} is not a count; give a whole number from 1, or auto")


def require_seed(seed: int) -> None:
    """Refuse a seed that torch's generators do not take."""
    if not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"--seed {seed} cannot be; give a whole number from 0 to {LARGEST_SEED}")
