"""What a run does, on a clock that moves only when the fake model says so."""

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fake_run import FakeGenerator, Run, Spoil, TickingClock
from torch import Tensor

from challenge.errors import BudgetError, GenerationError
from challenge.events import FileWritten, Notice
from challenge.generators.base import GeneratorDescription
from challenge.journal import Journal
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.runner import journal_header
from challenge.settings import GenerateSettings
from challenge.spec import CIFAR100
from challenge.submission import normalize


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, TickingClock())


def test_uses_its_time_and_is_not_late(run: Run) -> None:
    result = run(FakeGenerator(run.clock), limit_s=60.0)
    done = result.datasets[0]
    assert result.error is None
    assert 0.9 * 60 <= done.end_s <= 60
    assert done.file.ipc == torch.load(done.file.path, weights_only=True).shape[0] / 100
    assert done.generated_per_class == min(
        Journal.open(run.run_dir / "cifar100.journal").counts().values()
    )


def test_a_valid_file_stands_from_the_first_complete_round_on(run: Run) -> None:
    run(FakeGenerator(run.clock, image_s=0.1), limit_s=60.0, augment="none")
    first = next(event for event in run.events if isinstance(event, FileWritten))
    assert (first.final, first.ipc) == (False, 1)


def test_nan_and_black_images_are_made_again_with_another_seed(run: Run) -> None:
    bad = set()

    def spoil(images: Tensor, seeds: Sequence[int]) -> Tensor:
        for place, seed in enumerate(seeds):
            if seed % 23 == 0:
                bad.add(seed)
                images[place] = float("nan") if seed % 2 else 0.0
        return images

    result = run(FakeGenerator(run.clock, spoil=spoil), limit_s=60.0, ipc=3, augment="none")
    done = result.datasets[0]
    tensor = torch.load(done.file.path, weights_only=True)
    assert result.error is None
    assert done.rejected == len(bad - {0}) > 0  # seed 0 was the warm-up's
    assert tensor.isfinite().all()
    assert tensor.shape[0] == 300


def test_a_model_that_makes_mostly_nan_is_an_error_that_names_the_dtype(run: Run) -> None:
    def spoil(images: Tensor, seeds: Sequence[int]) -> Tensor:
        return images * float("nan")

    result = run(FakeGenerator(run.clock, spoil=spoil), limit_s=60.0)
    assert isinstance(result.error, GenerationError)
    assert "images were NaN or black" in str(result.error)
    assert "float32" in str(result.error)


def test_out_of_memory_halves_the_batch_and_loses_no_image(run: Run) -> None:
    generator = FakeGenerator(run.clock)
    generator.largest = 10
    result = run(generator, limit_s=60.0, ipc=2, augment="none")
    assert result.error is None
    assert result.datasets[0].file.images == 200
    assert result.datasets[0].batch_size == 8
    assert any(isinstance(event, Notice) and "out of memory" in event.text for event in run.events)


@pytest.mark.parametrize("images_before", [0, 5])
def test_out_of_memory_with_one_image_is_an_error(run: Run, images_before: int) -> None:
    def run_out(images: Tensor, seeds: Sequence[int]) -> Tensor:
        if sum(generator.sizes) > images_before:
            raise torch.OutOfMemoryError
        return images

    generator = FakeGenerator(run.clock, spoil=run_out)
    result = run(generator, limit_s=60.0)
    assert isinstance(result.error, GenerationError)
    assert "out of memory" in str(result.error)


def test_a_stop_request_ends_the_run_with_one_image_a_class(run: Run) -> None:
    run.stop.signal_name = "SIGINT"
    result = run(FakeGenerator(run.clock), limit_s=60.0, augment="none")
    assert result.stopped_by == "SIGINT"
    assert result.datasets[0].file.ipc == 1
    assert result.datasets[0].why_stopped == "stopped by SIGINT"
    notices = [event.text for event in run.events if isinstance(event, Notice)]
    assert len([text for text in notices if "Ctrl-C or SIGTERM now ends at once" in text]) == 1


def test_a_file_that_cannot_hold_one_image_a_class_is_told_before_the_model_is_loaded(
    run: Run,
) -> None:
    generator = FakeGenerator(run.clock)
    result = run(generator, limit_s=60.0, max_file_gib=1e-6)
    assert isinstance(result.error, BudgetError)
    assert "no room for one image a class of cifar100, since --max-file-gib is 1e-06" in str(
        result.error
    )
    assert (result.generator, generator.sizes) == (None, [])


def test_too_short_a_limit_is_an_error_before_the_limit_is_over(run: Run) -> None:
    result = run(FakeGenerator(run.clock, image_s=1.0), limit_s=60.0)
    assert isinstance(result.error, BudgetError)
    assert "raise --limit-s" in str(result.error)
    assert run.clock() < 20


def test_a_last_file_that_would_be_late_does_not_replace_the_one_in_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_at_the_end(images: Tensor, spec: object) -> Tensor:
        run.clock.advance(30 if run.clock() > 40 else 0)
        return normalize(images, CIFAR100)

    monkeypatch.setattr("challenge.packing.normalize", slow_at_the_end)
    result = run(FakeGenerator(run.clock, image_s=0.1), limit_s=60.0, augment="none")
    done = result.datasets[0]
    assert result.error is None
    assert done.late_s == 0
    assert done.end_s < 60 < run.clock()
    assert torch.load(done.file.path, weights_only=True).shape[0] == done.file.images
    assert not list(run.run_dir.glob(".*partial"))
    assert done.fault is not None
    assert "before the deadline" in done.fault
    assert any(isinstance(event, Notice) and "stands" in event.text for event in run.events)


def test_an_incomplete_last_round_is_completed_by_variants(run: Run) -> None:
    result = run(FakeGenerator(run.clock, image_s=0.004), limit_s=60.0, batch_size=29)
    done = result.datasets[0]
    assert done.generated % 100
    assert done.generated_per_class > 100  # so that no other variants are added
    assert done.file.ipc == done.generated_per_class + 1


def test_fewer_images_than_asked_for_is_still_a_file(run: Run) -> None:
    result = run(FakeGenerator(run.clock, image_s=0.05), limit_s=60.0, ipc=1000, augment="none")
    assert result.error is None
    assert result.datasets[0].file.ipc == result.datasets[0].generated_per_class < 1000


def test_each_distinct_prompt_is_encoded_before_the_first_image(run: Run) -> None:
    generator = FakeGenerator(run.clock)
    run(generator, limit_s=60.0, ipc=1)
    assert len(set(generator.encoded)) == 100
    assert generator.released


def test_a_disk_that_refuses_the_journal_is_an_error(run: Run) -> None:
    run.run_dir.joinpath("cifar100.journal").mkdir()
    result = run(FakeGenerator(run.clock), limit_s=60.0)
    assert result.error is not None
    assert "cifar100.journal" in str(result.error)


def test_a_disk_that_fills_up_leaves_the_file_that_stands(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full_after_a_while(descriptor: int) -> None:
        if run.clock() > 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_after_a_while)
    result = run(FakeGenerator(run.clock, image_s=0.05), limit_s=60.0, augment="none")
    done = result.datasets[0]
    assert result.error is None
    assert done.fault is not None
    assert "No space left" in done.fault
    assert done.end_s < 60
    assert torch.load(done.file.path, weights_only=True).shape[0] == done.file.images >= 100


def fail_late(error: Exception, run: Run) -> Spoil:
    def spoil(images: Tensor, seeds: Sequence[int]) -> Tensor:
        if run.clock() > 30:
            raise error
        return images

    return spoil


def test_a_model_that_breaks_down_leaves_all_that_was_made_in_the_file(run: Run) -> None:
    spoil = fail_late(RuntimeError("CUDA error: unspecified launch failure\nmore"), run)
    generator = FakeGenerator(run.clock, image_s=0.05, spoil=spoil)
    done = run(generator, limit_s=60.0, augment="none").datasets[0]
    assert done.fault is not None
    assert done.fault == (
        "the model failed 3 times running: CUDA error: unspecified launch failure; "
        f"the file of {done.end_s:.1f} s stands"
    )
    assert done.file.ipc == done.generated_per_class > 1


def test_a_model_that_breaks_down_at_once_is_an_error(run: Run) -> None:
    generator = FakeGenerator(run.clock, spoil=lambda images, seeds: images.view(3, 3))
    with pytest.raises(RuntimeError):  # in the warm-up: nothing is lost, and the fault is ours
        run(generator, limit_s=60.0)


def test_a_file_on_the_way_that_fails_does_not_end_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full_for_a_while(descriptor: int) -> None:
        if threading.current_thread() is threading.main_thread() and 10 < run.clock() < 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_for_a_while)
    result = run(FakeGenerator(run.clock, image_s=0.05), limit_s=60.0, augment="none")
    done = result.datasets[0]
    assert any(isinstance(e, Notice) and "going on with the file" in e.text for e in run.events)
    assert done.fault is None
    assert done.end_s > 50
    assert done.file.ipc == done.generated_per_class


def test_the_search_for_the_batch_size_begins_below_what_an_earlier_run_found(run: Run) -> None:
    run.batch_sizes = {"cifar100": 64}
    generator = FakeGenerator(run.clock, image_s=0.001)
    run(generator, limit_s=60.0, augment="none")
    assert generator.sizes[2] == 32  # after the two of the warm-up


def test_with_a_number_of_images_the_batches_are_part_of_the_plan(run: Run) -> None:
    run.batch_sizes = {"cifar100": 16}
    generator = FakeGenerator(run.clock)
    run(generator, limit_s=60.0, ipc=2, augment="none")
    assert generator.sizes[2:] == [64, 64, 64, 8]


def test_a_journal_is_of_one_unet_one_step_and_one_revision_alone() -> None:
    book = load_prompt_book(CIFAR100, find_prompts_dir(None), "sorted", "plain", 1)
    first, second = (
        GeneratorDescription("dmd2", "a hub", "1" * 40, "float16", "cpu", fingerprint=fingerprint)
        for fingerprint in ("a", "b")  # the same commit, but another timestep
    )
    headers = [journal_header(GenerateSettings(), book, each) for each in (first, second)]
    assert headers[0] != headers[1]
