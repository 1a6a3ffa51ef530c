import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from benches import CPU

from challenge.benchmarks.models import Source, use_decoder
from challenge.benchmarks.profiling import (
    TABLED,
    WATCHED,
    CallTimer,
    Loop,
    ShortBook,
    Watch,
    idle_share,
    kernel_times,
    profile_loop,
    time_network,
)
from challenge.benchmarks.rows import Variant
from challenge.events import BatchFinished, FileWritten
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.spec import CIFAR100
from challenge.stop import StopRequest

BATCH = BatchFinished("cifar100", 8, 0.1, 0, 8, 0, None, 80.0)
FILE = FileWritten("cifar100", 1, 100, 0.1, final=False)


@pytest.mark.parametrize(
    ("intervals", "share"),
    [
        ([(0.0, 10.0)], 0.0),
        ([(0.0, 4.0), (6.0, 10.0)], 0.2),
        ([(6.0, 10.0), (0.0, 4.0)], 0.2),  # in any order
        ([(0.0, 8.0), (1.0, 2.0), (8.0, 10.0)], 0.0),  # one within another, one after the other
        ([(5.0, 6.0), (5.5, 7.0), (9.0, 10.0)], 0.4),  # from the first start on
    ],
)
def test_idle_is_what_no_kernel_covers(intervals: list[tuple[float, float]], share: float) -> None:
    assert idle_share(intervals) == pytest.approx(share)


def test_only_what_the_gpu_did_counts_as_its_work() -> None:
    def event(kind: str, start: float, end: float, note: bool = False) -> SimpleNamespace:
        return SimpleNamespace(
            device_type=SimpleNamespace(name=kind),
            time_range=SimpleNamespace(start=start, end=end),
            is_user_annotation=note,
        )

    events = [event("CPU", 0.0, 9.0), event("CUDA", 1.0, 2.0), event("CUDA", 4.0, 5.0)]
    events.append(event("CUDA", 0.0, 9.0, note=True))
    assert kernel_times(events) == [(1.0, 2.0), (4.0, 5.0)]  # type: ignore[arg-type]


def test_a_device_that_did_nothing_has_no_idle_share() -> None:
    with pytest.raises(ValueError, match="no work of the device"):
        idle_share([])


def test_calls_of_a_network_are_timed_until_it_is_undone() -> None:
    class Slow(torch.nn.Module):
        def forward(self, value: int) -> int:
            time.sleep(0.02)
            return value + 1

    network, timer = Slow(), CallTimer()
    undo = time_network(network, timer)
    assert network(1) == 2
    undo()
    network(1)
    assert 0.02 <= timer.seconds < 0.04


def watched(events: list[object]) -> tuple[Watch, StopRequest]:
    stop = StopRequest()
    watch = Watch(CPU, (CallTimer(),), stop)
    for event in events:
        watch.emit(event)  # type: ignore[arg-type]
    return watch, stop


def test_batches_before_the_first_file_are_not_watched() -> None:
    watch, stop = watched([BATCH] * 50)
    assert (watch.seconds, stop.signal_name) == (None, None)


def test_ten_batches_after_the_first_file_are_watched_and_then_the_run_is_ended() -> None:
    watch, stop = watched([BATCH, FILE, *[BATCH] * (2 + WATCHED)])
    assert watch.seconds is not None
    assert stop.signal_name is None
    for _ in range(TABLED):
        watch.emit(BATCH)
    assert stop.signal_name == "the end of the measurement"


def test_a_file_in_between_begins_the_count_anew() -> None:
    watch, _ = watched([FILE, *[BATCH] * 8, FILE, *[BATCH] * (2 + WATCHED - 1)])
    assert watch.seconds is None
    watch.emit(BATCH)
    assert watch.seconds is not None


def test_a_class_of_the_short_book_has_one_prompt() -> None:
    book = load_prompt_book(CIFAR100, find_prompts_dir(None))
    short = ShortBook(book)
    assert len(short.all_prompts()) == 100
    assert short.prompts_for(5) == book.prompts_for(5)[:1]
    assert short.sha256 == book.sha256


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_is_watched_and_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    book = load_prompt_book(CIFAR100, find_prompts_dir(None))
    generator, _ = Source("tiny", random_weights=False, device=CPU).generator(torch.float32)
    generator.encode_prompts(ShortBook(book).all_prompts())
    variant = Variant("float32", 32)
    decoder = use_decoder(generator, variant, 32)
    forward = generator.unet.forward
    found = profile_loop(
        Loop(generator, decoder, variant, CIFAR100, book, CPU), batch_size=8, folder=tmp_path
    )
    assert generator.unet.forward == forward
    assert (found.batches, found.batch_size) == (10, 8)
    assert found.unet_s is not None
    assert found.decoder_s is not None
    outside = 1 - (found.unet_s + found.decoder_s) / found.seconds
    assert found.idle_share == pytest.approx(outside)
    assert 0 < found.idle_share < 0.9
    assert "aten::" in found.table
