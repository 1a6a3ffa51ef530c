"""What every row makes, our way and the plain way: images of prompts, shrunk to a data set's."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import DiffusionPipeline
from torch.utils.flop_counter import FlopCounterMode

from challenge.benchmarks.timing import Call, Stopwatch
from challenge.generators.base import ImageGenerator
from challenge.images import shrink, to_uint8

CEILING_SIDE = {"cuda": 8192, "cpu": 1024}  # of the square matrices


@dataclass(frozen=True)
class Workload:
    """Prompts in turn, seeds counted up, images shrunk to ``target_size``."""

    prompts: Sequence[str]
    seed: int
    target_size: int

    def batch(self, size: int) -> tuple[list[str], list[int]]:
        """Prompts and seeds of one batch."""
        prompts = [self.prompts[index % len(self.prompts)] for index in range(size)]
        return prompts, [self.seed + index for index in range(size)]


def our_call(generator: ImageGenerator, work: Workload, size: int) -> Call:
    """Our way: one call for the batch, shrunk and rounded on the device, on the CPU at the end."""
    prompts, seeds = work.batch(size)
    side = generator.image_size(work.target_size)

    def call() -> None:
        images = generator.generate(prompts, seeds, side)
        to_uint8(shrink(images, work.target_size)).cpu()

    return call


def pipeline_call(pipe: DiffusionPipeline, work: Workload, size: int, resolution: int) -> Call:
    """The plain way, as on SDXL-Turbo's model card: PIL images out, resized one by one."""
    prompts, _ = work.batch(size)

    def call() -> None:
        images = pipe(
            prompt=prompts,
            num_inference_steps=1,
            guidance_scale=0.0,
            height=resolution,
            width=resolution,
        ).images
        for image in images:
            image.resize((work.target_size, work.target_size))

    return call


def matrix_tflops(stopwatch: Stopwatch, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """The fastest of a second's large matrix products, in units of 10**12 operations a second."""
    side = CEILING_SIDE[stopwatch.device.type]
    left, right = torch.randn(2, side, side, device=stopwatch.device).to(dtype)

    def multiply() -> None:
        torch.mm(left, right)

    timing = stopwatch.time_calls(multiply, seconds)
    return 2 * side**3 / min(timing.calls_s) / 1e12


def tflop_per_image(generator: ImageGenerator, work: Workload) -> float:
    """What one image costs, counted by torch on a real call, so the decoder in use is in it.

    Compiled blocks are run as they were before, since the counter cannot look into them.
    """
    stance = torch.compiler.set_stance("force_eager")
    with stance, FlopCounterMode(display=False) as counter:
        our_call(generator, work, 1)()
    operations: int = counter.get_total_flops()
    return operations / 1e12
