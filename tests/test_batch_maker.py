"""A batch begun ahead changes nothing but the time: the same images, in the same order."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fake_run import FakeGenerator, Run, TickingClock
from torch import Tensor

from challenge.events import BatchFinished, Event, FileWritten
from challenge.run_parts import RunParts
from challenge.runner import RunResult
from challenge.transfer import Arriving

HOST_S = 0.05  # what Python needs for a batch, besides the device's time


class FakeDevice(FakeGenerator):
    """A device that works while Python goes on: a batch is there when all before it are done."""

    done_s = 0.0
    under_way = most_under_way = 0

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], image_size: int) -> Tensor:
        now_s = self._clock.now_s
        images = super().generate(prompts, seeds, image_size)
        needed_s, self._clock.now_s = self._clock.now_s - now_s, now_s + HOST_S
        self.done_s = max(self.done_s, now_s) + needed_s
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        return images


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Run, FakeDevice]:
    """A run on such a device."""
    run = Run(tmp_path / "run", TickingClock())
    device = FakeDevice(run.clock, image_s=0.005)

    class ArrivingLater(Arriving):
        def __init__(self, tensors: Sequence[Tensor]) -> None:
            super().__init__(tensors)
            self._done_s = device.done_s

        def wait(self) -> list[Tensor]:
            run.clock.now_s = max(run.clock.now_s, self._done_s)
            device.under_way -= 1
            return super().wait()

    monkeypatch.setattr("challenge.thumbnails.Arriving", ArrivingLater)
    monkeypatch.setattr(RunParts, "looks_ahead", True)
    return run, device


def tensor_of(result: RunResult) -> Tensor:
    assert result.error is None
    tensor: Tensor = torch.load(result.datasets[0].file.path, weights_only=True)
    return tensor


def run_in_turn(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> RunResult:
    """The same with one batch at a time."""
    with monkeypatch.context() as context:
        context.setattr(RunParts, "looks_ahead", False)
        context.setattr("challenge.thumbnails.Arriving", Arriving)
        run = Run(folder, TickingClock())
        spoil = settings.pop("spoil", None)
        return run(FakeGenerator(run.clock, image_s=0.005, spoil=spoil), **settings)  # type: ignore[arg-type]


def some_black(images: Tensor, seeds: Sequence[int]) -> Tensor:
    for place, seed in enumerate(seeds):
        if seed % 151 == 0:
            images[place] = 0.0
    return images


def test_the_file_is_the_same_with_and_without(
    fake: tuple[Run, FakeDevice], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, device = fake
    device._spoil = some_black
    plan = {"limit_s": 600.0, "ipc": 30, "augment": "none", "batch_size": 40}
    ahead = run(device, **plan)
    in_turn = run_in_turn(tmp_path / "in turn", monkeypatch, spoil=some_black, **plan)
    assert ahead.datasets[0].rejected == in_turn.datasets[0].rejected > 0
    assert torch.equal(tensor_of(ahead), tensor_of(in_turn))
    assert device.most_under_way >= 2


def test_two_batches_at_most_are_under_way_and_the_device_need_not_wait(
    fake: tuple[Run, FakeDevice],
) -> None:
    run, device = fake
    result = run(device, limit_s=60.0, augment="none")
    done = result.datasets[0]
    assert device.most_under_way == 2
    assert 0.9 * 60 < done.end_s <= 60
    assert done.images_per_s > 0.9 / 0.005  # the device's own speed


def test_a_batch_costs_the_devices_time_and_no_files(fake: tuple[Run, FakeDevice]) -> None:
    run, device = fake

    class SlowScreen(list[Event]):
        def append(self, event: Event) -> None:
            super().append(event)
            run.clock.advance(0.1 if isinstance(event, BatchFinished) else 0)

    run.events = SlowScreen()
    run(device, limit_s=120.0, augment="none", batch_size=64)
    batches = [event for event in run.events if isinstance(event, BatchFinished)]
    files = [event for event in run.events if isinstance(event, FileWritten)]
    assert len(files) > 4
    assert max(file.seconds for file in files) > 0.5
    assert all(0.9 < batch.seconds / (64 * 0.005) < 1.6 for batch in batches if batch.size == 64)


def test_without_room_for_a_second_batch_the_run_goes_on_one_by_one(
    fake: tuple[Run, FakeDevice],
) -> None:
    run, device = fake

    def no_room(images: Tensor, seeds: Sequence[int]) -> Tensor:
        if device.under_way:
            raise torch.OutOfMemoryError("no room\nat all")
        return images

    device._spoil = no_room
    result = run(device, limit_s=600.0, ipc=5, augment="none", batch_size=40)
    assert result.error is None
    assert result.datasets[0].batch_size == 40
    told = [text for text in run.notices() if "ahead" in text]
    assert told == ["no batch is begun ahead any more: no room"]


def test_a_batch_that_fails_while_another_is_under_way_is_made_again(
    fake: tuple[Run, FakeDevice], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, device = fake
    failed: list[bool] = []

    def fail_once(images: Tensor, seeds: Sequence[int]) -> Tensor:
        if len(device.sizes) == 30 and not failed:
            failed.append(True)
            raise RuntimeError("a fault")
        return images

    device._spoil = fail_once
    plan = {"limit_s": 600.0, "ipc": 30, "augment": "none", "batch_size": 40}
    ahead = run(device, **plan)
    assert failed
    in_turn = run_in_turn(tmp_path / "in turn", monkeypatch, **plan)
    assert torch.equal(tensor_of(ahead), tensor_of(in_turn))


def test_a_stop_request_throws_the_batch_begun_ahead_away(fake: tuple[Run, FakeDevice]) -> None:
    run, device = fake

    def stop(images: Tensor, seeds: Sequence[int]) -> Tensor:
        if run.clock() > 20:
            run.stop.signal_name = "SIGINT"
        return images

    device._spoil = stop
    result = run(device, limit_s=60.0, augment="none")
    done = result.datasets[0]
    assert result.error is None
    assert done.why_stopped == "stopped by SIGINT"
    assert done.end_s < 25
    assert device.under_way == 1  # nobody waited for it
