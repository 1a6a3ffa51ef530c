"""What a user can set, one frozen dataclass a command; the command line is made from them.

Each default stands here and nowhere else. Checks that need no file and no device are made at once;
a value that cannot be is a ``UsageError`` (exit code 2). No torch here, so that ``--help`` answers
at once.
"""

from challenge.settings.benchmark import BenchmarkSettings
from challenge.settings.choices import (
    LONGEST_LIMIT_S,
    NO_OPTIONS,
    ONE_STEP_UNETS,
    PUBLIC_MODELS,
    AugmentPreset,
    ClassOrder,
    ClockName,
    DatasetChoice,
    DecoderChoice,
    DecoderName,
    DtypeName,
    FeatureName,
    FramingChoice,
    FramingPreset,
    LimitCovers,
    ModelOptions,
    OffOn,
    PrecisionName,
    PredictionType,
    PresetName,
    QuantizeName,
    RunPresetName,
    ShrinkChoice,
    WeightsName,
    selected_specs,
    taken_prompt_preset,
)
from challenge.settings.generate import GenerateSettings, PrepareSettings, PromptsSettings
from challenge.settings.judge import (
    CheckSettings,
    EvaluateSettings,
    InspectSettings,
    PackageSettings,
    ReportSettings,
)

__all__ = [
    "LONGEST_LIMIT_S",
    "NO_OPTIONS",
    "ONE_STEP_UNETS",
    "PUBLIC_MODELS",
    "AugmentPreset",
    "BenchmarkSettings",
    "CheckSettings",
    "ClassOrder",
    "ClockName",
    "DatasetChoice",
    "DecoderChoice",
    "DecoderName",
    "DtypeName",
    "EvaluateSettings",
    "FeatureName",
    "FramingChoice",
    "FramingPreset",
    "GenerateSettings",
    "InspectSettings",
    "LimitCovers",
    "ModelOptions",
    "OffOn",
    "PackageSettings",
    "PrecisionName",
    "PredictionType",
    "PrepareSettings",
    "PresetName",
    "PromptsSettings",
    "QuantizeName",
    "ReportSettings",
    "RunPresetName",
    "ShrinkChoice",
    "WeightsName",
    "selected_specs",
    "taken_prompt_preset",
]
