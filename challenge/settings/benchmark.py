"""Settings of ``benchmark``."""

import math
from dataclasses import dataclass
from pathlib import Path

from challenge.errors import UsageError
from challenge.settings.choices import (
    PUBLIC_MODELS,
    DecoderName,
    DtypeName,
    OffOn,
    PresetName,
    QuantizeName,
    WeightsName,
    require_count,
    require_seed,
)
from challenge.spec import (
    DatasetName,
)

PRESET_BUDGET_S = 600.0


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """Measure images per second, beside this device's ceiling and the plain diffusers pipeline.

    What is given several times is measured in all combinations.
    """

    model: str = "sdxl-turbo"
    """As for generate."""
    weights: WeightsName = "real"
    """real, or random: the full-size sdxl-turbo or sd-turbo built from its public config, so that a
    machine can be measured without a download.
    """
    dataset: DatasetName = "cifar100"
    """Whose image size and prompts to use."""
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    """Batch sizes to measure; sizes after one that is out of memory are not tried."""
    resolutions: tuple[int, ...] = ()
    """Sides in pixels of the full image to draw, such as 512 384 256. Default: the model's own."""
    decoders: tuple[DecoderName, ...] = ("vae",)
    """vae (the model's own), taesdxl, linear, thumbnail; all but vae with random weights."""
    compile: tuple[OffOn, ...] = ("off",)
    """off, on or both: the UNet's repeated blocks compiled; the seconds are in the first call."""
    quantize: tuple[QuantizeName, ...] = ("none",)
    """none, fp8, fp8-weights, int8-weights: the UNet's linear layers in eight bits, as for
    generate; with random weights the speed means something, the damage does not.
    """
    dtypes: tuple[DtypeName, ...] = ("auto",)
    """Number formats of the model; auto: float16 on a GPU, float32 on a CPU."""
    seconds_per_row: float = 3.0
    """Seconds to measure each row for, warm-up apart; at least three batches."""
    profile: bool = False
    """Also watch ten batches of a real run: how much of the time is not UNet and decoder."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    preset: PresetName | None = None
    """full-size: measure all there is within --budget-s, with random weights unless --model is
    tiny, and write it to the folder --out.
    """
    budget_s: float = PRESET_BUDGET_S
    """Seconds from the start of the process that the preset may take."""
    out: Path | None = None
    """New folder for the preset's results. Default: submissions/DATE-TIME-benchmark."""
    all_gpus: bool = False
    """Measure every GPU of the machine side by side, one process and one row for each."""
    seed: int = 0
    """Seed of the noise."""
    record: Path | None = None
    """Also write the JSON document to this new file."""
    json: bool = False
    """Print one JSON document as the last line on stdout."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be, before anything is loaded."""
        if self.weights == "random" and self.model not in PUBLIC_MODELS:
            raise UsageError(
                f"--weights random is for {' and '.join(PUBLIC_MODELS)}, not for {self.model}; "
                "leave it away, or name one of them"
            )
        for flag, values in (
            ("--batch-sizes", self.batch_sizes),
            ("--decoders", self.decoders),
            ("--dtypes", self.dtypes),
            ("--compile", self.compile),
            ("--quantize", self.quantize),
        ):
            if not values:
                raise UsageError(f"{flag} is empty; give at least one value")
        if not 0 < self.budget_s < math.inf:
            raise UsageError(f"--budget-s {self.budget_s:g} is not a time; give seconds above 0")
        if self.preset is None and (self.out is not None or self.budget_s != PRESET_BUDGET_S):
            raise UsageError(
                "--out and --budget-s belong to --preset full-size; "
                "give --record FILE to keep what is measured"
            )
        if self.model.startswith("images:"):
            raise UsageError(
                f"--model {self.model} makes no images, so nothing can be measured; name a model"
            )
        if self.preset and (self.all_gpus or self.record):
            raise UsageError("--preset writes its own files, of one GPU; see --out and --device")
        if self.preset and (self.quantize != ("none",) or "on" in self.compile):
            raise UsageError(
                "--preset chooses its rows itself; leave --quantize and --compile away"
            )
        if self.all_gpus and self.device != "auto":
            raise UsageError(f"--all-gpus with --device {self.device}; leave one of them away")
        for size in self.batch_sizes:
            require_count("--batch-sizes", size)
        for side in self.resolutions:
            require_count("--resolutions", side)
        require_seed(self.seed)
        if not 0 < self.seconds_per_row < math.inf:
            raise UsageError(
                f"--seconds-per-row {self.seconds_per_row:g} is not a time; give seconds above 0"
            )

    @property
    def random_weights(self) -> bool:
        """Whether the model is a public one with random weights: a preset's that has a name."""
        return self.weights == "random" or (self.preset is not None and self.model in PUBLIC_MODELS)
