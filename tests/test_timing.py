import time

import pytest
import torch
from benches import CPU

from challenge.benchmarks.timing import Stopwatch, Timing, joined
from challenge.nvml import Meter


class FakeMeter(Meter):
    """Ten joules more at each reading."""

    readings = 0

    def energy_j(self) -> float:
        type(self).readings += 1
        return 10.0 * self.readings


def test_the_warm_up_is_kept_apart_and_a_row_has_at_least_three_calls() -> None:
    calls: list[int] = []
    timing = Stopwatch(CPU, Meter()).time_calls(lambda: calls.append(1), seconds=0.0)
    assert len(timing.calls_s) == 3
    assert len(calls) == 4
    assert timing.warm_up_s is not None


def test_a_later_turn_needs_no_warm_up() -> None:
    calls: list[int] = []
    stopwatch = Stopwatch(CPU, Meter())
    timing = stopwatch.time_calls(lambda: calls.append(1), 0.0, min_calls=1, warm_up=False)
    assert (len(timing.calls_s), len(calls), timing.warm_up_s) == (1, 1, None)


def test_energy_is_what_the_timed_calls_used() -> None:
    timing = Stopwatch(CPU, FakeMeter()).time_calls(lambda: None, seconds=0.0)
    assert timing.energy_j == 10.0


def test_processor_seconds_are_those_of_the_timed_calls() -> None:
    def wait() -> None:
        time.sleep(0.05)

    timing = Stopwatch(CPU, Meter()).time_calls(wait, seconds=0.0)
    assert sum(timing.calls_s) > 0.15
    assert timing.cpu_s < 0.1


def test_without_a_meter_there_is_no_energy() -> None:
    assert Stopwatch(CPU, Meter()).time_calls(lambda: None, seconds=0.0).energy_j is None


def test_what_does_not_fit_has_no_timing() -> None:
    def call() -> None:
        raise torch.OutOfMemoryError

    assert Stopwatch(CPU, Meter()).time_if_it_fits(call, 0.0) is None


def test_another_fault_is_not_taken_for_a_lack_of_memory() -> None:
    def call() -> None:
        raise RuntimeError("a kernel failed")

    with pytest.raises(RuntimeError, match="a kernel failed"):
        Stopwatch(CPU, Meter()).time_if_it_fits(call, 0.0)


def test_turns_are_joined_to_the_highest_peak_and_all_energy() -> None:
    turns = [Timing(0.5, [1.0, 2.0], 3.0, 40.0, 1.5), Timing(None, [3.0], 5.0, 2.0, 0.25)]
    assert joined(turns) == Timing(0.5, [1.0, 2.0, 3.0], 5.0, 42.0, 1.75)
    assert joined([Timing(0.5, [1.0], None, 40.0), Timing(None, [3.0])]).energy_j is None
