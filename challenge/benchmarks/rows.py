"""The rows of the benchmark's tables, and what they are measured against."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from challenge.benchmarks.timing import Timing
from challenge.settings import QuantizeName


@dataclass(frozen=True)
class Variant:
    """What is varied beside the batch size; ``resolution`` is the side of the full image."""

    dtype: str
    resolution: int
    decoder: str = "vae"
    compile: bool = False
    quantize: QuantizeName = "none"

    @property
    def title(self) -> str:
        """In the words of a log."""
        more = f", {self.quantize}" if self.quantize != "none" else ""
        more += ", compiled" if self.compile else ""
        return f"{self.dtype}, {self.resolution} px, {self.decoder}{more}"


@dataclass(frozen=True)
class BenchmarkRow:
    """One way of making images; ``error`` says what failed.

    Rates are images per second, from the seconds of each call: their median, and the distance
    between their quartiles.

    ``tflops`` counts the multiplications and additions of the model's own layers; ``ceiling_share``
    is its part of what a large matrix product reaches on this device in this dtype. ``peak_gib`` is
    torch's peak on a GPU. Watts and joules are the GPU's by NVML. ``cpu_s_per_image`` are processor
    seconds of all threads, which hardly depend on what else the machine does. ``compile_s`` is what
    the first call of a compiled model took above a later one.
    """

    method: str
    batch_size: int
    dtype: str
    resolution: int
    decoder: str = "vae"
    compile: bool = False
    quantize: QuantizeName = "none"
    calls: int = 0
    warm_up_s: float | None = None
    images_per_s: float | None = None
    images_per_s_iqr: float | None = None
    tflops: float | None = None
    ceiling_share: float | None = None
    peak_gib: float | None = None
    power_w: float | None = None
    images_per_joule: float | None = None
    cpu_s_per_image: float | None = None
    load_s: float | None = None
    compile_s: float | None = None
    error: str | None = None

    @property
    def variant(self) -> Variant:
        """What was varied."""
        return Variant(self.dtype, self.resolution, self.decoder, self.compile, self.quantize)


@dataclass(frozen=True)
class Ceiling:
    """What the device could do: measured speed of a large matrix product, and cost of one image."""

    tflops: float
    tflop_per_image: float

    @property
    def images_per_s(self) -> float:
        """Images per second if every multiplication ran at the speed of a large matrix product."""
        return self.tflops / self.tflop_per_image


def measured_row(
    method: str,
    batch_size: int,
    variant: Variant,
    ceiling: Ceiling,
    timing: Timing,
    load_s: float | None = None,
) -> BenchmarkRow:
    """The row of a batch of this size that was timed."""
    rates = [batch_size / call_s for call_s in timing.calls_s]
    median = statistics.median(rates)
    lower, _, upper = statistics.quantiles(rates, n=4)
    joules, images = timing.energy_j, batch_size * len(rates)
    return BenchmarkRow(
        method=method,
        batch_size=batch_size,
        dtype=variant.dtype,
        resolution=variant.resolution,
        decoder=variant.decoder,
        compile=variant.compile,
        quantize=variant.quantize,
        calls=len(rates),
        warm_up_s=timing.warm_up_s,
        images_per_s=median,
        images_per_s_iqr=upper - lower,
        tflops=median * ceiling.tflop_per_image,
        ceiling_share=median / ceiling.images_per_s,
        peak_gib=timing.peak_gib,
        power_w=joules / sum(timing.calls_s) if joules else None,
        images_per_joule=images / joules if joules else None,
        cpu_s_per_image=timing.cpu_s / images,
        load_s=load_s,
        compile_s=_compile_s(timing) if variant.compile else None,
    )


def _compile_s(timing: Timing) -> float | None:
    if timing.warm_up_s is None:
        return None
    return max(0.0, timing.warm_up_s - statistics.median(timing.calls_s))


def failed_row(method: str, batch_size: int, variant: Variant, error: str) -> BenchmarkRow:
    """The row of what could not be measured."""
    return BenchmarkRow(
        method,
        batch_size,
        variant.dtype,
        variant.resolution,
        variant.decoder,
        variant.compile,
        variant.quantize,
        error=error,
    )


def best_row(rows: Sequence[BenchmarkRow]) -> BenchmarkRow:
    """The fastest row."""
    return max(rows, key=lambda row: row.images_per_s or 0.0)
