"""Seconds of calls on a device, the work on it included; and what it used of memory and energy."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from challenge.nvml import Meter, open_meter

MIN_CALLS = 3

Call = Callable[[], None]


@dataclass(frozen=True)
class Timing:
    """Seconds of the warm-up call and of each call after it.

    ``energy_j`` and ``cpu_s``, the processor seconds of all threads, are of the latter together.
    """

    warm_up_s: float | None
    calls_s: list[float]
    peak_gib: float | None = None
    energy_j: float | None = None
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Stopwatch:
    """Times calls on one device."""

    device: torch.device
    meter: Meter

    @classmethod
    def on(cls, device: torch.device) -> "Stopwatch":
        """With the device's own counters, where it has some."""
        return cls(device, open_meter(device))

    def seconds(self, call: Call) -> float:
        """Seconds of one call."""
        self._synchronize()
        started_s = time.perf_counter()
        call()
        self._synchronize()
        return time.perf_counter() - started_s

    def time_calls(
        self, call: Call, seconds: float, *, min_calls: int = MIN_CALLS, warm_up: bool = True
    ) -> Timing:
        """Warm up with one call, then time calls for ``seconds``, at least ``min_calls``."""
        is_gpu = self.device.type == "cuda"
        if is_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        warm_up_s = self.seconds(call) if warm_up else None
        joules_before = self.meter.energy_j()
        cpu_before_s = time.process_time()
        calls_s: list[float] = []
        while sum(calls_s) < seconds or len(calls_s) < min_calls:
            calls_s.append(self.seconds(call))
        cpu_s = time.process_time() - cpu_before_s
        joules = self.meter.energy_j()
        return Timing(
            warm_up_s,
            calls_s,
            torch.cuda.max_memory_allocated(self.device) / 2**30 if is_gpu else None,
            None if joules is None or joules_before is None else joules - joules_before,
            cpu_s,
        )

    def time_if_it_fits(
        self, call: Call, seconds: float, *, min_calls: int = MIN_CALLS, warm_up: bool = True
    ) -> Timing | None:
        """The timing, or None when the device ran out of memory."""
        try:
            return self.time_calls(call, seconds, min_calls=min_calls, warm_up=warm_up)
        except torch.OutOfMemoryError:
            pass  # the memory is free once the exception is gone
        torch.cuda.empty_cache()
        return None

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def joined(timings: Sequence[Timing]) -> Timing:
    """Several turns as one: the first's warm-up, all calls, the highest peak, sums of the rest."""
    peaks = [timing.peak_gib for timing in timings if timing.peak_gib is not None]
    energies = [timing.energy_j for timing in timings if timing.energy_j is not None]
    return Timing(
        timings[0].warm_up_s,
        [call_s for timing in timings for call_s in timing.calls_s],
        max(peaks, default=None),
        sum(energies) if len(energies) == len(timings) else None,
        sum(timing.cpu_s for timing in timings),
    )
