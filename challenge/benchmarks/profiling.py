"""How much of the loop is not the model: ten batches of a real run, watched.

A run is begun as ``generate`` begins one, with journal and files in a folder that is thrown away.
After its first file and two more batches the watch begins; ten batches later it ends, and so does
the run.

On a GPU torch.profiler tells when kernels ran, and what is left between the first and the last is
idle. A CPU is never idle so; there the share of the seconds outside of the UNet and the decoder is
taken, by a clock around each of their calls: torch.profiler would slow the networks down more than
what lies between them, and so flatter the loop. It is on for two more batches, for the table of
operations.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerActivity, profile

from challenge.benchmarks.rows import Variant
from challenge.budget import PhaseTimer
from challenge.clock import clock_since_now
from challenge.errors import GenerationError
from challenge.events import BatchFinished, Event, FileWritten
from challenge.generators.decoders import Decoder
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.guard.handle import NoGuard
from challenge.prompts import PromptBook
from challenge.run_parts import RunParts
from challenge.run_state import RunState
from challenge.runner import run_generate
from challenge.settings import GenerateSettings
from challenge.spec import DatasetSpec
from challenge.stop import StopRequest

WATCHED, SKIPPED, TABLED = 10, 2, 2  # batches
TABLE_ROWS = 25
LONGEST_RUN_S = 600.0


@dataclass(frozen=True)
class LoopProfile:
    """What ten batches were made of.

    ``idle_share`` is of the GPU's time, or on a CPU that outside of UNet and decoder; ``unet_s``
    and ``decoder_s`` are known on a CPU only. ``table`` lists the costliest operations.
    """

    batch_size: int
    batches: int
    seconds: float
    images_per_s: float
    idle_share: float
    measured_by: str
    unet_s: float | None
    decoder_s: float | None
    table: str


class CallTimer:
    """Seconds within calls of one function."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*args: object, **kwargs: object) -> Any:
            started_s = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - started_s

        return timed


class TimedDecoder(Decoder):
    """A decoder whose calls are timed."""

    def __init__(self, decoder: Decoder, timer: CallTimer) -> None:
        self.name = decoder.name
        self._decoder = decoder
        self._decode = timer.around(decoder.decode)

    def image_size(self, latent_size: int) -> int:
        """As the decoder's."""
        return self._decoder.image_size(latent_size)

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 S S"]:
        """As the decoder."""
        pictures: Tensor = self._decode(latents)
        return pictures


def time_network(network: nn.Module, timer: CallTimer) -> Callable[[], None]:
    """Time the network's calls; returns what ends that."""
    forward = network.forward
    network.forward = timer.around(forward)

    def undo() -> None:
        network.forward = forward

    return undo


class ShortBook:
    """A prompt book of which each class uses one prompt: what a prompt says costs nothing."""

    def __init__(self, book: PromptBook) -> None:
        self._book = book

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)

    def prompts_for(self, class_index: int) -> Sequence[str]:
        """The first of the pool."""
        return self._book.prompts_for(class_index)[:1]

    def all_prompts(self) -> Sequence[str]:
        """One a class."""
        classes = range(len(self._book.classes))
        return [prompt for index in classes for prompt in self.prompts_for(index)]


class Watch:
    """Listens to a run and knows when its ten batches begin and end."""

    def __init__(self, device: torch.device, timers: Sequence[CallTimer], stop: StopRequest):
        self._is_gpu = device.type == "cuda"
        self._timers, self._stop = timers, stop
        self._file_stands, self._batches = False, 0
        self._profile: profile | None = None
        self._begun: list[float] = []
        self.seconds: float | None = None
        self.inside_s: list[float] = []
        self.table = ""
        self.idle_share: float | None = None

    def emit(self, event: Event) -> None:
        """Count; a file written in between begins the count anew, being no part of the loop."""
        if isinstance(event, FileWritten) and self.seconds is None:
            self._file_stands, self._batches = True, 0
            self._drop_profile()
        if isinstance(event, BatchFinished) and self._file_stands:
            self._batches += 1
            self._after_batch()

    def _after_batch(self) -> None:
        if self._batches == SKIPPED:
            self._begin()
        elif self._batches == SKIPPED + WATCHED:
            self._end()
        elif self._batches == SKIPPED + WATCHED + TABLED:
            self._end_table()

    def _begin(self) -> None:
        if self._is_gpu:
            self._start_profile()
        self._begun = [time.perf_counter(), *(timer.seconds for timer in self._timers)]

    def _end(self) -> None:
        now = [time.perf_counter(), *(timer.seconds for timer in self._timers)]
        self.seconds, *self.inside_s = (
            late - early for late, early in zip(now, self._begun, strict=True)
        )
        if self._is_gpu:
            self._end_table()
        else:
            self.idle_share = 1 - sum(self.inside_s) / self.seconds
            self._start_profile()

    def _start_profile(self) -> None:
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._is_gpu else [])]
        self._profile = profile(activities=kinds)
        self._profile.start()

    def _drop_profile(self) -> None:
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

    def _end_table(self) -> None:
        assert self._profile is not None  # it was started a few batches ago
        self._profile.stop()
        key = "self_device_time_total" if self._is_gpu else "self_cpu_time_total"
        self.table = self._profile.key_averages().table(sort_by=key, row_limit=TABLE_ROWS)
        if self._is_gpu:
            self.idle_share = idle_share(kernel_times(self._profile.events()))  # type: ignore[no-untyped-call]
        self._profile = None
        self._stop.signal_name = "the end of the measurement"


def kernel_times(events: EventList) -> list[tuple[float, float]]:
    """When work of the GPU began and ended, copies included, in microseconds.

    Annotations, as compiled code has them, span kernels and what lies between.
    """
    return [
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type.name == "CUDA" and not event.is_user_annotation
    ]


def idle_share(intervals: Sequence[tuple[float, float]]) -> float:
    """Share of the time from the first start to the last end that no interval covers."""
    if not intervals:
        raise ValueError("no work of the device was recorded")
    busy, (start, reached) = 0.0, min(intervals)
    first = start
    for begin, end in sorted(intervals):
        if begin > reached:
            busy, start = busy + reached - start, begin
        reached = max(reached, end)
    busy += reached - start
    return 1 - busy / (reached - first)


@dataclass(frozen=True)
class Loop:
    """What is watched; the generator has one prompt of each class of the book encoded."""

    generator: OneStepGenerator
    decoder: Decoder
    variant: Variant
    spec: DatasetSpec
    book: PromptBook
    device: torch.device


def profile_loop(loop: Loop, batch_size: int, folder: Path) -> LoopProfile:
    """Watch a run in the new ``folder``, which the caller throws away.

    Raises ``GenerationError`` when the run ended before ten batches were seen.
    """
    unet_timer, decoder_timer = CallTimer(), CallTimer()
    stop = StopRequest()
    watch = Watch(loop.device, (unet_timer, decoder_timer), stop)
    generator, size, resolution = loop.generator, loop.spec.image_size, loop.variant.resolution
    generator.use_decoder(size, TimedDecoder(loop.decoder, decoder_timer), resolution)
    undo = time_network(generator.unet, unet_timer)
    try:
        error = _run(loop, batch_size, folder, watch, stop)
    finally:
        undo()
        generator.use_decoder(size, loop.decoder, resolution)
    if watch.seconds is None or watch.idle_share is None:
        because = error or "the run was over before"
        raise GenerationError(f"fewer than {WATCHED} batches could be watched: {because}")
    is_gpu = loop.device.type == "cuda"
    unet_s, decoder_s = (None, None) if is_gpu else watch.inside_s
    return LoopProfile(
        batch_size=batch_size,
        batches=WATCHED,
        seconds=watch.seconds,
        images_per_s=WATCHED * batch_size / watch.seconds,
        idle_share=watch.idle_share,
        measured_by="kernels (torch.profiler)" if is_gpu else "seconds outside UNet and decoder",
        unet_s=unet_s,
        decoder_s=decoder_s,
        table=watch.table,
    )


def _run(
    loop: Loop, batch_size: int, folder: Path, watch: Watch, stop: StopRequest
) -> Exception | None:
    """The run; returns the fault that ended it, if one did."""
    clock = clock_since_now()
    settings = GenerateSettings(
        dataset=loop.spec.name, batch_size=batch_size, augment="none", limit_s=LONGEST_RUN_S
    )
    parts = RunParts(
        device=loop.device,
        run_dir=folder,
        run_seed=settings.seed,
        clock=clock,
        timer=PhaseTimer(clock, "start_up"),
        emit=watch.emit,
        stop=stop,
        guard=NoGuard(),
        state=RunState.load(folder, 0.0),
    )
    book = cast("PromptBook", ShortBook(loop.book))
    return run_generate(settings, {loop.spec: book}, lambda: loop.generator, parts).error
