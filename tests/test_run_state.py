from dataclasses import asdict, replace
from pathlib import Path

import pytest

from challenge.budget import Choice
from challenge.errors import JournalError
from challenge.records import write_json
from challenge.run_state import STATE_FILE, DatasetResult, RunState, StandingFile, later_file
from challenge.submission import SubmissionFile
from challenge.watch import GuardReport, report_path

FILE = SubmissionFile(Path("run/cifar100.pt"), images=300, ipc=3, bytes=1234, sha256="ab")
STANDING = StandingFile(FILE, rounds=3, end_s=20.0)
RESULT = DatasetResult(
    dataset="cifar100",
    file=FILE,
    generated=310,
    generated_per_class=3,
    rejected=1,
    batch_size=8,
    images_per_s=31.0,
    why_stopped="no time for another batch",
    fault=None,
    choices=(Choice("batch of 16", 1.5, 0.25, 40.0),),
    start_s=0.0,
    end_s=20.0,
    done_s=20.0,
    deadline_s=25.0,
)


def test_what_was_told_is_there_for_the_next_process(tmp_path: Path) -> None:
    state = RunState(tmp_path)
    state.began(5.0, "process")
    state.dataset_began("cifar100", 0.0)
    state.file_stands("cifar100", STANDING)
    state.dataset_done(RESULT, {"generate": 12.5})
    state.dataset_began("tinyimagenet", 20.0)
    loaded = RunState.load(tmp_path, spent_s=30.0)
    assert loaded.generation_start_s == 5.0
    assert loaded.datasets == state.datasets
    assert loaded.datasets["cifar100"].result == RESULT
    assert loaded.datasets["cifar100"].standing == STANDING
    assert loaded.spent_s == 30.0


def test_a_run_that_was_killed_before_its_first_image_has_an_empty_state(tmp_path: Path) -> None:
    state = RunState.load(tmp_path, spent_s=3.0)
    assert (state.generation_start_s, state.datasets) == (None, {})


@pytest.mark.parametrize("text", ["", "{}", '{"generation_start_s": 1, "datasets": {"x": 3}}'])
def test_a_damaged_state_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(JournalError, match=r"state\.json: cannot be read"):
        RunState.load(tmp_path, spent_s=0.0)


@pytest.mark.parametrize(("clock", "moved_s"), [("process", 0.0), ("generation", 7.0)])
def test_loading_again_moves_the_times_of_the_generation_clock_only(
    tmp_path: Path, clock: str, moved_s: float
) -> None:
    state = RunState(tmp_path)
    state.began(5.0, "generation")
    state.dataset_began("cifar100", 5.0)
    state.file_stands("cifar100", STANDING)
    state.dataset_done(RESULT, {})
    resumed = RunState.load(tmp_path, spent_s=30.0)
    resumed.began(37.0, clock)  # type: ignore[arg-type]
    entry = resumed.datasets["cifar100"]
    assert resumed.generation_start_s == 12.0
    assert entry.start_s == 5.0 + moved_s
    assert entry.standing == replace(STANDING, end_s=20.0 + moved_s)
    assert entry.result is not None
    assert (entry.result.end_s, entry.result.deadline_s) == (20.0 + moved_s, 25.0 + moved_s)


def test_the_file_that_the_guard_wrote_last_is_the_one_that_stands(tmp_path: Path) -> None:
    state = RunState(tmp_path)
    state.began(5.0, "process")
    state.dataset_began("cifar100", 0.0)
    state.file_stands("cifar100", STANDING)
    report = GuardReport("cifar100", "a test", 4, 22.0, "run/cifar100.pt", 400, 99, "cd")
    write_json(report_path(tmp_path, "cifar100"), asdict(report))
    standing = RunState.load(tmp_path, 23.0).datasets["cifar100"].standing
    assert standing is not None
    assert (standing.file.ipc, standing.by_guard) == (4, "a test")
    write_json(report_path(tmp_path, "cifar100"), asdict(replace(report, error="disk full")))
    assert RunState.load(tmp_path, 23.0).datasets["cifar100"].standing == STANDING


def test_of_two_files_under_one_name_the_later_stands() -> None:
    later = replace(STANDING, end_s=21.0)
    assert later_file(STANDING, later) == later_file(later, STANDING) == later
    assert later_file(None, STANDING) == STANDING
    assert later_file(None, None) is None


def test_a_disk_that_refuses_is_told_and_not_raised(tmp_path: Path) -> None:
    state = RunState(tmp_path / "missing")
    state.began(5.0, "process")
    assert "not written" in str(state.failure)
