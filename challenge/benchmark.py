"""Images per second by batch size, beside the device's ceiling and the plain pipeline.

Everything is measured in one process: our loop at each batch size, then our best
against the pipeline called once per image and called with batches, in turns (A B C A B C ...),
because machines drift.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionXLPipeline
from torch.utils.flop_counter import FlopCounterMode

from challenge.errors import GenerationError
from challenge.generators.base import ImageGenerator
from challenge.images import shrink, to_uint8

MIN_CALLS = 3
TURNS = 3  # rounds of the comparison with the baselines


@dataclass(frozen=True)
class BenchmarkRow:
    """One way of making images; ``error`` says what failed.

    Rates are images per second, from the seconds of each call.

    ``tflops`` counts the multiplications and additions of the model's own layers; ``ceiling_share``
    is its part of what a large matrix product reaches on this device in this dtype. ``peak_gib`` is
    torch's peak on a GPU.
    """

    method: str
    batch_size: int
    dtype: str
    resolution: int
    decoder: str = "vae"
    compile: bool = False
    calls: int = 0
    warm_up_s: float | None = None
    images_per_s: float | None = None
    images_per_s_iqr: float | None = None
    tflops: float | None = None
    ceiling_share: float | None = None
    peak_gib: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds of the warm-up call and of each call after it."""

    warm_up_s: float
    calls_s: list[float]
    peak_gib: float | None


@dataclass(frozen=True)
class Workload:
    """What every row makes: images of one size, shrunk to that of the data set."""

    prompts: Sequence[str]
    seed: int
    resolution: int
    target_size: int
    device: torch.device
    dtype: torch.dtype

    @property
    def dtype_name(self) -> str:
        """The model's number format, such as float16."""
        return str(self.dtype).removeprefix("torch.")

    def batch(self, size: int) -> tuple[list[str], list[int]]:
        """Prompts and seeds of one batch."""
        prompts = [self.prompts[index % len(self.prompts)] for index in range(size)]
        return prompts, [self.seed + index for index in range(size)]


@dataclass(frozen=True)
class Ceiling:
    """What the device could do: measured speed of a large matrix product, and cost of one image."""

    tflops: float
    tflop_per_image: float

    @property
    def images_per_s(self) -> float:
        """Images per second if every multiplication ran at the speed of a large matrix product."""
        return self.tflops / self.tflop_per_image


Call = Callable[[], None]


def our_call(generator: ImageGenerator, work: Workload, size: int) -> Call:
    """Our way: one call for the batch, shrunk and rounded on the device, on the CPU at the end."""
    prompts, seeds = work.batch(size)

    def call() -> None:
        images = generator.generate(prompts, seeds, work.resolution)
        to_uint8(shrink(images, work.target_size)).cpu()

    return call


def pipeline_call(pipe: StableDiffusionXLPipeline, work: Workload, size: int) -> Call:
    """The plain way, as on SDXL-Turbo's model card: PIL images out, resized one by one."""
    prompts, seeds = work.batch(size)

    def call() -> None:
        images = pipe(
            prompt=prompts,
            num_inference_steps=1,
            guidance_scale=0.0,
            height=work.resolution,
            width=work.resolution,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        ).images
        for image in images:
            image.resize((work.target_size, work.target_size))

    return call


def sweep(
    generator: ImageGenerator,
    work: Workload,
    ceiling: Ceiling,
    batch_sizes: Sequence[int],
    seconds: float,
    tell: Callable[[BenchmarkRow], None],
) -> list[BenchmarkRow]:
    """Our loop at each batch size. Out of memory is a row, and the last one.

    Raises ``GenerationError`` when not even the smallest batch fits.
    """
    rows = []
    for size in sorted(set(batch_sizes)):
        timing = _time_if_it_fits(our_call(generator, work, size), work.device, seconds)
        if timing is None:
            row = _out_of_memory_row("ours", size, work)
        else:
            row = _row("ours", size, work, ceiling, timing)
        rows.append(row)
        tell(row)
        if row.error:
            break
    if rows[0].error:
        raise GenerationError(
            f"out of memory with a batch of {rows[0].batch_size}; "
            "free the device, or take a smaller model"
        )
    return rows


def compare(
    generator: ImageGenerator,
    pipe: StableDiffusionXLPipeline,
    work: Workload,
    ceiling: Ceiling,
    size: int,
    seconds: float,
    tell: Callable[[BenchmarkRow], None],
) -> list[BenchmarkRow]:
    """Our loop, the pipeline once per image and in batches, in turns; one row each."""
    methods = [
        ("ours", size, our_call(generator, work, size)),
        ("pipeline, once per image", 1, pipeline_call(pipe, work, 1)),
        ("pipeline, batched", size, pipeline_call(pipe, work, size)),
    ]
    timings: dict[str, list[Timing | None]] = {method: [] for method, _, _ in methods}
    for _ in range(TURNS):
        for method, _, call in methods:
            timings[method].append(_time_if_it_fits(call, work.device, seconds / TURNS))
    rows = []
    for method, batch_size, _ in methods:
        fitted = [timing for timing in timings[method] if timing is not None]
        if len(fitted) == TURNS:
            rows.append(_row(method, batch_size, work, ceiling, _joined(fitted)))
        else:
            rows.append(_out_of_memory_row(method, batch_size, work))
        tell(rows[-1])
    return rows


def _time_if_it_fits(call: Call, device: torch.device, seconds: float) -> Timing | None:
    """The timing, or None when the device ran out of memory."""
    try:
        return time_calls(call, device, seconds)
    except torch.OutOfMemoryError:
        pass  # the memory is free once the exception is gone
    torch.cuda.empty_cache()
    return None


def _out_of_memory_row(method: str, batch_size: int, work: Workload) -> BenchmarkRow:
    return BenchmarkRow(method, batch_size, work.dtype_name, work.resolution, error="out of memory")


def best_row(rows: Sequence[BenchmarkRow]) -> BenchmarkRow:
    """The fastest row."""
    return max(rows, key=lambda row: row.images_per_s or 0.0)


def time_calls(call: Call, device: torch.device, seconds: float) -> Timing:
    """Warm up with one call, then time calls for ``seconds``, at least MIN_CALLS of them."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    warm_up_s = _seconds(call, device)
    calls_s: list[float] = []
    while sum(calls_s) < seconds or len(calls_s) < MIN_CALLS:
        calls_s.append(_seconds(call, device))
    peak_gib = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return Timing(warm_up_s, calls_s, peak_gib)


def measure_ceiling(generator: ImageGenerator, work: Workload) -> Ceiling:
    """Speed of a large matrix product in the model's dtype, and what one image costs.

    The cost is counted by torch on a real call, so it is that of the decoder in use as well.
    """
    side = 8192 if work.device.type == "cuda" else 1024
    left, right = torch.randn(2, side, side, device=work.device).to(work.dtype)

    def multiply() -> None:
        torch.mm(left, right)

    timing = time_calls(multiply, work.device, seconds=1.0)
    with FlopCounterMode(display=False) as counter:
        our_call(generator, work, 1)()
    flop = 2 * side**3
    return Ceiling(
        flop / statistics.median(timing.calls_s) / 1e12, counter.get_total_flops() / 1e12
    )


def _seconds(call: Call, device: torch.device) -> float:
    """Seconds of one call, all work on the device included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started_s = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started_s


def _joined(timings: Sequence[Timing]) -> Timing:
    """Several turns as one: the first one's warm-up, all calls, the highest peak."""
    peaks = [timing.peak_gib for timing in timings if timing.peak_gib is not None]
    return Timing(
        timings[0].warm_up_s,
        [call_s for timing in timings for call_s in timing.calls_s],
        max(peaks, default=None),
    )


def _row(
    method: str, batch_size: int, work: Workload, ceiling: Ceiling, timing: Timing
) -> BenchmarkRow:
    rates = [batch_size / call_s for call_s in timing.calls_s]
    median = statistics.median(rates)
    lower, _, upper = statistics.quantiles(rates, n=4)
    return BenchmarkRow(
        method=method,
        batch_size=batch_size,
        dtype=work.dtype_name,
        resolution=work.resolution,
        calls=len(rates),
        warm_up_s=timing.warm_up_s,
        images_per_s=median,
        images_per_s_iqr=upper - lower,
        tflops=median * ceiling.tflop_per_image,
        ceiling_share=median / ceiling.images_per_s,
        peak_gib=timing.peak_gib,
    )
