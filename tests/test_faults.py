"""What a run makes of a stall, a suspended machine, a failing model, and of its own remains."""

import errno
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FakeClock
from fake_run import FakeGenerator, Run, TickingClock
from torch import Tensor

from challenge.errors import JournalError
from challenge.events import FileWritten
from challenge.guard.handle import NoGuard
from challenge.journal import Journal
from challenge.packing import Packer
from challenge.run_state import STATE_FILE
from challenge.runner import RunResult
from challenge.settings import ClockName, LimitCovers
from challenge.spec import DatasetName
from challenge.stop import interrupting_after
from challenge.watch import GuardReport, Watch


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run", TickingClock())


def images_in(result: RunResult) -> int:
    """Images in the first file, read back."""
    return int(torch.load(result.datasets[0].file.path, weights_only=True).shape[0])


def test_a_model_that_fails_once_is_asked_again_and_makes_the_same_images(run: Run) -> None:
    failed: list[bool] = []

    def fail_once(images: Tensor, seeds: Sequence[int]) -> Tensor:
        if len(seeds) > 1 and not failed:
            failed.append(True)
            raise RuntimeError("CUDA error: a hiccup")
        return images

    plan: dict[str, object] = {"limit_s": 60.0, "ipc": 2, "augment": "none"}
    result = run(FakeGenerator(run.clock, spoil=fail_once), **plan)
    undisturbed = Run(run.run_dir.parent / "other", TickingClock())
    expected = undisturbed(FakeGenerator(undisturbed.clock), **plan)
    assert result.error is None
    assert result.datasets[0].fault is None
    assert result.datasets[0].file.sha256 == expected.datasets[0].file.sha256
    assert "the model failed, trying again: CUDA error: a hiccup" in run.notices()


def test_a_batch_that_never_ends_is_given_up_and_what_was_made_is_packed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(images: Tensor, seeds: Sequence[int]) -> Tensor:
        if run.clock() > 40:
            time.sleep(60)
        return images

    monkeypatch.setattr(
        "challenge.dataset_run.interrupting_after",
        lambda seconds: interrupting_after(seconds if run.clock() < 40 else 0.2),
    )
    result = run(FakeGenerator(run.clock, image_s=0.05, spoil=hang), limit_s=60.0, augment="none")
    done = result.datasets[0]
    assert result.error is None
    assert "the batch had not ended" in str(done.fault)
    assert 40 < done.end_s < 60
    assert images_in(result) == done.generated_per_class * 100


def test_a_batch_that_hangs_in_the_middle_of_a_run_is_asked_for_anew(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung: list[bool] = []

    def hang_once(images: Tensor, seeds: Sequence[int]) -> Tensor:
        if run.clock() > 20 and not hung:
            hung.append(True)
            time.sleep(60)
        return images

    monkeypatch.setattr(
        "challenge.dataset_run.interrupting_after", lambda _: interrupting_after(0.2)
    )
    generator = FakeGenerator(run.clock, image_s=0.05, spoil=hang_once)
    done = run(generator, limit_s=60.0, augment="none").datasets[0]
    assert any("trying again: the batch had not ended" in text for text in run.notices())
    assert done.fault is None
    assert done.end_s > 57


def test_a_machine_that_was_suspended_past_the_deadline_has_the_file_from_before(run: Run) -> None:
    def suspend(images: Tensor, seeds: Sequence[int]) -> Tensor:
        run.clock.advance(3600 if 30 < run.clock() < 60 else 0)
        return images

    generator = FakeGenerator(run.clock, image_s=0.05, spoil=suspend)
    result = run(generator, limit_s=60.0, augment="none")
    done = result.datasets[0]
    assert result.error is None
    assert (done.late_s, done.end_s < 60) == (0.0, True)
    assert "before the deadline" in str(done.fault)
    assert images_in(result) == done.file.images >= 100
    assert result.end_s == done.end_s
    assert result.spent_s > 3600  # what a resume would have to count


def test_a_batch_that_takes_twenty_times_as_long_costs_no_more_than_its_time(run: Run) -> None:
    slow: list[bool] = []

    def stall(images: Tensor, seeds: Sequence[int]) -> Tensor:
        if run.clock() > 30 and not slow:
            slow.append(True)
            run.clock.advance(20 * 0.01 * len(seeds))
        return images

    generator = FakeGenerator(run.clock, image_s=0.01, spoil=stall)
    done = run(generator, limit_s=60.0, augment="none").datasets[0]
    assert slow
    assert done.fault is None
    assert 57 < done.end_s <= 60


def test_a_file_that_grows_too_slowly_is_begun_anew_with_fewer_images(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.Tensor.cpu

    def slow_disk(values: Tensor, *rest: object) -> Tensor:
        if values.dtype == torch.float32:
            run.clock.advance(len(values) * (0.0009 if run.clock() > 50 else 0.0003))
        return real(values)

    monkeypatch.setattr(torch.Tensor, "cpu", slow_disk)
    result = run(FakeGenerator(run.clock, image_s=0.004), limit_s=60.0, augment="none")
    done = result.datasets[0]
    assert result.error is None
    assert any("images a class instead" in text for text in run.notices())
    assert done.late_s == 0
    assert 25 < done.file.ipc < done.generated_per_class
    assert images_in(result) == 100 * done.file.ipc


def test_a_rename_that_fails_leaves_the_file_that_stands(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if run.clock() > 30 and target.suffix == ".pt":
            raise OSError(errno.EIO, "Input/output error")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    result = run(FakeGenerator(run.clock, image_s=0.05), limit_s=60.0, augment="none")
    done = result.datasets[0]
    assert result.error is None
    assert "Input/output error" in str(done.fault)
    assert done.end_s < 31
    assert images_in(result) == done.file.images


def test_a_state_that_cannot_be_written_does_not_end_the_run(run: Run) -> None:
    run.run_dir.joinpath(STATE_FILE).mkdir(parents=True)
    with pytest.raises(JournalError, match=r"state\.json"):  # a run to resume must have one
        run(FakeGenerator(run.clock), limit_s=60.0, ipc=1)
    run.run_dir.joinpath(STATE_FILE).rmdir()
    run.run_dir.joinpath(f".{STATE_FILE}.partial").mkdir()
    result = run(FakeGenerator(run.clock), limit_s=60.0, ipc=1, augment="none")
    assert result.error is None
    assert images_in(result) == 100


def test_packing_goes_on_on_the_cpu_when_the_device_fails(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LostDevice(Packer):
        """Its device works in the warm-up and then computes nothing: copies from it fail."""

        def __init__(self, *parts: Any, **more: Any) -> None:
            super().__init__(*parts, **more)
            self.device = torch.device("meta")

    monkeypatch.setattr("challenge.runner.Packer", LostDevice)
    result = run(FakeGenerator(run.clock, image_s=0.1), limit_s=60.0, ipc=2)
    assert result.error is None
    assert result.datasets[0].fault is None
    assert len([text for text in run.notices() if "packing on the CPU instead" in text]) == 1
    assert images_in(result) == 200


class TakeOver(NoGuard):
    """A guard that has packed three rounds when the run wants to write its last file."""

    def __init__(self, run: Run, packed_s: float) -> None:
        self._run, self._packed_s = run, packed_s
        self.watches: list[Watch | None] = []

    def watch(self, watch: Watch | None) -> None:
        self.watches.append(watch)

    def claim(self, journal: Path) -> bool:
        return self._run.clock() < 50

    def report(self, dataset: DatasetName, deadline_s: float) -> GuardReport:
        path = str(self._run.run_dir / "cifar100.pt")
        return GuardReport(dataset, "a test", 3, self._packed_s, path, 300, 1, "0")


@pytest.mark.parametrize(("packed_s", "taken"), [(55.0, True), (0.5, False)])
def test_the_guards_file_is_taken_over_when_it_is_the_later_one(
    run: Run, packed_s: float, taken: bool
) -> None:
    guard = TakeOver(run, packed_s)
    run.guard = guard
    result = run(FakeGenerator(run.clock, image_s=0.05), limit_s=60.0, augment="none")
    done = result.datasets[0]
    assert result.error is None
    assert "is packed by the guard already" in str(done.fault)
    assert (done.file.ipc == 3) == taken
    assert ("since a test" in str(done.fault)) == taken
    assert guard.watches[-1] is None
    told = [watch for watch in guard.watches if watch]
    assert told[0].rounds_in_file == 0
    first_file = next(n for n, watch in enumerate(told) if watch.rounds_in_file)
    assert told[first_file].rounds_in_file == 1
    assert told[first_file - 1].guard_at_s > told[-1].guard_at_s  # more to pack, so sooner


def test_a_second_set_begins_when_the_first_has_ended_its_trying(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.Tensor.cpu

    def late_at_the_end(values: Tensor, *rest: object) -> Tensor:
        if 35 < run.clock() < 41 and values.dtype == torch.float32:
            run.clock.advance(10)
        return real(values)

    monkeypatch.setattr(torch.Tensor, "cpu", late_at_the_end)
    plan = {"dataset": "all", "limit_s": 40.0, "augment": "none"}
    first, second = run(FakeGenerator(run.clock, image_s=0.02), **plan).datasets
    assert first.fault is not None
    assert first.end_s < 39
    assert second.start_s == first.done_s == 40.0  # not from the older file's end on


def test_a_file_on_the_way_that_fails_leaves_the_guard_free_to_act(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(NoGuard):
        held = False
        held_while_generating = 0

        def claim(self, journal: Path) -> bool:
            self.held = True
            return True

        def unclaim(self) -> None:
            self.held = False

    guard = Counting()
    run.guard = guard
    real = Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if 10 < run.clock() < 30 and target.suffix == ".pt":
            raise OSError(errno.EIO, "Input/output error")
        return real(path, target)

    def look(images: Tensor, seeds: Sequence[int]) -> Tensor:
        guard.held_while_generating += guard.held
        return images

    monkeypatch.setattr(Path, "replace", refuse)
    run(FakeGenerator(run.clock, image_s=0.05, spoil=look), limit_s=60.0, augment="none")
    assert any("going on with the file that stands" in text for text in run.notices())
    assert guard.held_while_generating == 0


class PowerFailure(BaseException):
    """Ends a run in the middle, with nothing tidied up."""


def cut_short(run: Run, images: int, **plan: object) -> None:
    """Run until so many images were asked for, then end at once."""

    def fail(made: Tensor, seeds: Sequence[int]) -> Tensor:
        if sum(generator.sizes) > images:
            raise PowerFailure
        return made

    generator = FakeGenerator(run.clock, spoil=fail)
    with pytest.raises(PowerFailure):
        run(generator, **plan)
    run.spent_s = run.clock()


PLAN: dict[str, object] = {"limit_s": 60.0, "ipc": 5, "augment": "none", "batch_size": 7}


@pytest.mark.parametrize("images", [1, 20, 250, 480])
def test_a_resumed_run_makes_the_file_of_an_uninterrupted_one_to_the_bit(
    run: Run, images: int
) -> None:
    expected = Run(run.run_dir.parent / "whole", TickingClock())
    whole = expected(FakeGenerator(expected.clock), **PLAN).datasets[0]
    cut_short(run, images, **PLAN)
    journal = run.run_dir / "cifar100.journal"
    kept = sum(Journal.open(journal).counts().values()) if journal.exists() else 0
    generator = FakeGenerator(run.clock)
    resumed = run(generator, **PLAN).datasets[0]
    assert resumed.file.sha256 == whole.file.sha256
    assert (resumed.generated, resumed.file.images) == (500, 500)
    assert sum(generator.sizes) == 500 - kept + 2  # two in the warm-up


def test_a_journal_cut_anywhere_in_its_last_record_leads_to_the_same_file(run: Run) -> None:
    expected = Run(run.run_dir.parent / "whole", TickingClock())
    whole = expected(FakeGenerator(expected.clock), **PLAN).datasets[0]
    cut_short(run, 300, **PLAN)
    journal = run.run_dir / "cifar100.journal"
    content, ends = journal.read_bytes(), [batch.end for batch in Journal.open(journal).batches]
    start, end = ends[-2], ends[-1]
    for size in (start, start + 1, start + 12, start + 20, (start + end) // 2, end - 4, end - 1):
        again = Run(run.run_dir.parent / f"cut-{size}", TickingClock())
        shutil.copytree(run.run_dir, again.run_dir, dirs_exist_ok=True)
        (again.run_dir / journal.name).write_bytes(content[:size])
        again.spent_s = run.spent_s
        assert (
            again(FakeGenerator(again.clock), **PLAN).datasets[0].file.sha256 == whole.file.sha256
        )


def test_images_that_were_rejected_before_a_cut_are_not_asked_for_again(run: Run) -> None:
    def spoil(images: Tensor, seeds: Sequence[int]) -> Tensor:
        bad = torch.tensor([seed % 31 == 0 for seed in seeds])
        return torch.where(bad.view(-1, 1, 1, 1), torch.zeros(()), images)

    def spoil_and_fail(images: Tensor, seeds: Sequence[int]) -> Tensor:
        if sum(generator.sizes) > 300:
            raise PowerFailure
        return spoil(images, seeds)

    expected = Run(run.run_dir.parent / "whole", TickingClock())
    whole = expected(FakeGenerator(expected.clock, spoil=spoil), **PLAN).datasets[0]
    generator = FakeGenerator(run.clock, spoil=spoil_and_fail)
    with pytest.raises(PowerFailure):
        run(generator, **PLAN)
    resumed = run(FakeGenerator(run.clock, spoil=spoil), **PLAN).datasets[0]
    assert whole.rejected > 0
    assert (resumed.rejected, resumed.file.sha256) == (whole.rejected, whole.file.sha256)


def test_the_seconds_before_a_cut_count(run: Run) -> None:
    cut_short(run, 1000, limit_s=60.0, augment="none")
    spent_s = run.spent_s
    assert spent_s > 10
    done = run(FakeGenerator(run.clock), limit_s=60.0, augment="none").datasets[0]
    assert (done.start_s, done.deadline_s) == (0.0, 60.0)
    assert 55 < done.end_s <= 60


@pytest.mark.parametrize(("left_s", "replaced"), [(35.0, True), (10.0, False)])
def test_a_lost_journal_does_not_cost_the_file_that_stands(
    run: Run, left_s: float, replaced: bool
) -> None:
    plan: dict[str, object] = {"limit_s": 60.0, "augment": "none", "batch_size": 7}
    cut_short(run, 1700, **plan)
    state = json.loads((run.run_dir / STATE_FILE).read_text())
    standing = state["datasets"]["cifar100"]["standing"]
    assert standing["rounds"] == 16
    (run.run_dir / "cifar100.journal").unlink()
    run.clock.advance(60.0 - left_s - run.clock())
    run.spent_s, events = run.clock(), len(run.events)
    done = run(FakeGenerator(run.clock), **plan).datasets[0]
    assert (done.file.sha256 != standing["file"]["sha256"]) == replaced
    if replaced:
        assert (done.fault, done.file.ipc) == (None, done.generated_per_class)
        assert done.file.ipc > 16
    else:
        assert (done.file.ipc, done.generated_per_class) == (16, 5)
        assert "holds 16 distinct images of each class; a file made now would hold 5" in str(
            done.fault
        )
    files = [event for event in run.events[events:] if isinstance(event, FileWritten)]
    assert all(event.ipc >= 16 for event in files)


def test_the_guard_is_told_of_the_file_that_an_earlier_process_left(run: Run) -> None:
    class NotedGuard(NoGuard):
        def watch(self, watch: Watch | None) -> None:
            told.append(watch)

    told: list[Watch | None] = []
    cut_short(run, 1700, **{**PLAN, "ipc": 20})
    run.guard = NotedGuard()
    run(FakeGenerator(run.clock), **{**PLAN, "ipc": 20})
    assert told[0] is not None
    assert told[0].rounds_in_file == 16


@pytest.mark.parametrize(("free_rounds", "ipc"), [(20.5, 20), (10.0, 16)])
def test_where_the_disk_has_no_room_for_all_as_much_as_fits_is_packed(
    run: Run, monkeypatch: pytest.MonkeyPatch, free_rounds: float, ipc: int
) -> None:
    def usage(path: Path) -> Any:
        free = free_rounds * 100 * 12_288 if run.clock() > 30 else 1e12
        return shutil._ntuple_diskusage(10**12, 0, int(free))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    result = run(FakeGenerator(run.clock), limit_s=60.0, augment="none", batch_size=7)
    done = result.datasets[0]
    assert result.error is None
    assert done.generated_per_class > 30
    assert images_in(result) == 100 * ipc
    told = any(f"packing {ipc} images a class instead" in text for text in run.notices())
    assert told == (done.fault is None) == (ipc == 20)
    if ipc == 16:
        assert "not enough space" in str(done.fault)


def test_a_run_resumed_after_its_time_hands_in_the_file_that_stands(run: Run) -> None:
    cut_short(run, 1000, limit_s=60.0, augment="none")
    standing = json.loads((run.run_dir / STATE_FILE).read_text())["datasets"]["cifar100"][
        "standing"
    ]
    run.clock.advance(100)
    run.spent_s = run.clock()
    result = run(FakeGenerator(run.clock), limit_s=60.0, augment="none")
    done = result.datasets[0]
    assert result.error is None
    assert (done.late_s, done.file.sha256) == (0.0, standing["file"]["sha256"])


def test_the_journal_of_another_model_seed_or_prompt_pool_is_refused(run: Run) -> None:
    cut_short(run, 100, **PLAN)
    other_seed = run(FakeGenerator(run.clock), **{**PLAN, "seed": 1})
    assert isinstance(other_seed.error, JournalError)
    assert "its seed is 0, this run's is 1" in str(other_seed.error)
    generator = FakeGenerator(run.clock)
    generator.description = replace(generator.description, model="other")
    other_model = run(generator, **PLAN)
    assert isinstance(other_model.error, JournalError)
    assert "its model is 'fake', this run's is 'other'" in str(other_model.error)


def test_a_data_set_that_was_done_before_the_cut_is_left_alone(run: Run) -> None:
    plan = PLAN | {"dataset": "all", "ipc": 1}
    cut_short(run, 150, **plan)
    before = (run.run_dir / "cifar100.pt").stat().st_mtime_ns
    result = run(FakeGenerator(run.clock), **plan)
    assert result.error is None
    assert [done.dataset for done in result.datasets] == ["cifar100", "tinyimagenet"]
    assert (run.run_dir / "cifar100.pt").stat().st_mtime_ns == before
    assert "CIFAR-100 was done before" in run.notices()
    again = run(FakeGenerator(run.clock), **plan)  # nothing is left to do: no model is loaded
    assert again.generator is None
    assert [done.file.images for done in again.datasets] == [100, 200]


@pytest.mark.parametrize("covers", ["each", "all"])
@pytest.mark.parametrize("clock", ["process", "generation"])
@pytest.mark.parametrize("resumed", [False, True])
def test_each_combination_of_limit_and_clock_is_kept_to_the_second(
    run: Run, covers: LimitCovers, clock: ClockName, resumed: bool
) -> None:
    loading_s = 3.0

    def load(fake: FakeClock) -> FakeGenerator:
        fake.advance(loading_s)
        return FakeGenerator(fake, image_s=0.02)

    plan: dict[str, object] = {
        "dataset": "all",
        "limit_s": 40.0,
        "limit_covers": covers,
        "clock": clock,
        "augment": "none",
    }
    if resumed:
        run.clock.advance(loading_s)
        cut_short(run, 300, **plan)
    result = run(load(run.clock), **plan)
    first, second = result.datasets
    uncounted_s = 0.0 if clock == "process" else result.generation_start_s
    assert result.error is None
    assert first.start_s == pytest.approx(uncounted_s)
    assert first.deadline_s == pytest.approx(uncounted_s + (40.0 if covers == "each" else 20.0))
    assert second.start_s == first.end_s
    latest_s = first.end_s + 40.0 if covers == "each" else uncounted_s + 40.0
    assert second.deadline_s == pytest.approx(latest_s)
    for done in result.datasets:
        assert done.deadline_s - 3 < done.end_s <= done.deadline_s
    if resumed and clock == "generation":
        assert result.generation_start_s > 2 * loading_s  # both times of loading are left out
