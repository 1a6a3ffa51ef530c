"""What the tests of the benchmark share: a generator that runs out of memory, a fake pipeline."""

from collections.abc import Sequence
from types import SimpleNamespace

import torch
from PIL import Image
from torch import Tensor

from challenge.benchmarks.rows import BenchmarkRow, Ceiling, Variant
from challenge.benchmarks.sweep import Bench
from challenge.benchmarks.timing import Stopwatch
from challenge.benchmarks.work import Workload
from challenge.generators.base import GeneratorDescription
from challenge.nvml import Meter

CPU = torch.device("cpu")
WORK = Workload(("a", "b", "c"), 5, 32)
CEILING = Ceiling(tflops=2.0, tflop_per_image=0.5)
VARIANT = Variant("float32", 32)


class LimitedGenerator:
    """Runs out of memory above ``largest`` images."""

    description = GeneratorDescription("fake", "a test", None, "float32", "cpu")

    def __init__(self, largest: int) -> None:
        self.largest = largest

    def image_size(self, target_size: int) -> int:
        return target_size

    def encode_prompts(self, prompts: Sequence[str]) -> None: ...

    def release_text_encoders(self) -> None: ...

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], image_size: int) -> Tensor:
        if len(prompts) > self.largest:
            raise torch.OutOfMemoryError
        return torch.zeros(len(prompts), 3, image_size, image_size)


class LimitedPipeline:
    """diffusers' pipeline, as far as the benchmark calls it; it fits ``largest`` images."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.calls: list[dict[str, object]] = []

    def __call__(self, prompt: list[str], **options: object) -> SimpleNamespace:
        if len(prompt) > self.largest:
            raise torch.OutOfMemoryError
        self.calls.append({"batch": len(prompt), **options})
        return SimpleNamespace(images=[Image.new("RGB", (32, 32))] * len(prompt))


def new_bench(told: list[BenchmarkRow] | None = None) -> Bench:
    """On the CPU, a hundredth of a second a row."""
    tell = (lambda row: None) if told is None else told.append
    return Bench(Stopwatch(CPU, Meter()), WORK, 0.01, tell)
