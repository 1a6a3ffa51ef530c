import time

import pytest
import torch
from conftest import FakeClock

from challenge.benchmarks.parts import Entry, Part, run_parts
from challenge.errors import WeightsError


def test_what_no_longer_fits_is_left_out_with_its_reason(clock: FakeClock) -> None:
    def work(seconds: float) -> Entry:
        clock.advance(60.0)
        return {"found": 1}

    parts = [Part("first", 30.0, 90.0, work), Part("second", 50.0, 90.0, work)]
    parts.append(Part("third", 10.0, 90.0, work))
    entries = run_parts(parts, clock, 100.0, lambda text: None, lambda entries: None)
    assert entries["first"] == {"seconds": 60.0, "found": 1}
    assert entries["second"]["skipped"] == "it needs about 50 s, and 40 s were left"
    assert entries["third"] == {"seconds": 60.0, "found": 1}


def test_a_part_is_told_what_it_may_take_and_never_more_than_is_left(clock: FakeClock) -> None:
    told: list[float] = []

    def work(seconds: float) -> Entry:
        told.append(seconds)
        clock.advance(seconds)
        return {}

    parts = [Part("first", 1.0, 40.0, work), Part("second", 1.0, 90.0, work)]
    run_parts(parts, clock, 100.0, lambda text: None, lambda entries: None)
    assert told == [40.0, 60.0]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (WeightsError("no such model"), "no such model"),
        (RuntimeError("CUDA error: an illegal access\nand more"), "CUDA error: an illegal access"),
        (torch.OutOfMemoryError("tried to allocate"), "out of memory"),
        (TypeError("a release has renamed an argument"), "a release has renamed an argument"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_a_part_that_fails_leaves_its_error_and_the_others_go_on(
    error: Exception, text: str, clock: FakeClock
) -> None:
    def fail(seconds: float) -> Entry:
        raise error

    parts = [Part("first", 1.0, 9.0, fail), Part("second", 1.0, 9.0, lambda seconds: {"a": 1})]
    entries = run_parts(parts, clock, 100.0, lambda text: None, lambda entries: None)
    assert entries["first"]["error"] == text
    assert entries["second"]["a"] == 1


def test_a_part_that_hangs_is_interrupted() -> None:
    def hang(seconds: float) -> Entry:
        while True:
            time.sleep(0.01)

    parts = [Part("first", 0.0, 0.05, hang)]
    started_s = time.monotonic()
    entries = run_parts(parts, time.monotonic, started_s + 60, lambda text: None, lambda e: None)
    assert entries["first"]["error"] == "it had not ended after 0 s"


def test_all_entries_are_kept_after_each_part(clock: FakeClock) -> None:
    kept: list[list[str]] = []
    parts = [Part(name, 0.0, 9.0, lambda seconds: {}) for name in ("first", "second")]
    parts.append(Part("third", 1000.0, 9.0, lambda seconds: {}))
    run_parts(parts, clock, 100.0, lambda text: None, lambda entries: kept.append(list(entries)))
    assert kept == [["first"], ["first", "second"], ["first", "second", "third"]]
