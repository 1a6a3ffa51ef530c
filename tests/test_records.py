import json
import os
import threading
from contextlib import closing
from pathlib import Path

import pytest
from conftest import FakeClock

from challenge.errors import OutputError, SubmissionError
from challenge.events import Notice
from challenge.locks import FileLock
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.records import (
    EventLog,
    discard_records,
    read_label_order,
    run_folder,
    write_json,
    write_sidecar,
)
from challenge.spec import TINYIMAGENET, LabelOrder


def test_events_are_lines_of_json_with_their_name_and_time(
    tmp_path: Path, clock: FakeClock
) -> None:
    with closing(EventLog(tmp_path / "events.jsonl", clock, lambda: {"memory_gib": 1.2})) as log:
        clock.advance(1.5)
        log.write(Notice("hello", "warning"))
        line = json.loads((tmp_path / "events.jsonl").read_text())  # there before the log is closed
    assert line == {
        "event": "Notice", "t_s": 1.5, "memory_gib": 1.2, "text": "hello", "level": "warning"
    }  # fmt: skip


def test_a_document_replaces_the_one_before_in_one_step(tmp_path: Path) -> None:
    for value in (1, 2):
        write_json(tmp_path / "run.json", {"value": value, "path": tmp_path})
    assert json.loads((tmp_path / "run.json").read_text()) == {"value": 2, "path": str(tmp_path)}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_new_or_empty_folder_is_taken_and_left_empty(tmp_path: Path) -> None:
    with run_folder(tmp_path / "a" / "b", resume=False) as created:
        assert list(created.iterdir()) == []
    (tmp_path / "empty").mkdir()
    with run_folder(tmp_path / "empty", resume=False) as taken:
        assert list(taken.iterdir()) == []
    assert list(taken.iterdir()) == []


def test_folders_that_were_made_for_nothing_are_taken_back(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with run_folder(tmp_path / "mine" / "a" / "b", resume=False):
        pass
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]
    with run_folder(tmp_path / "mine" / "a" / "b", resume=False) as folder:
        (folder.parent / "other").touch()
    assert [path.name for path in (tmp_path / "mine").rglob("*")] == ["a", "other"]


def test_a_folder_that_holds_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with (
        pytest.raises(OutputError, match="not empty; a run never overwrites"),
        run_folder(tmp_path, resume=False),
    ):
        pass


def test_a_folder_that_is_resumed_may_hold_files(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with run_folder(tmp_path, resume=True) as folder:
        assert (folder / "run.json").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_in_the_same_folder_is_refused(
    tmp_path: Path, resume: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("challenge.records.LONGEST_LOCK_WAIT_S", 0.2)
    with (
        run_folder(tmp_path, resume=resume),
        pytest.raises(OutputError, match="another run is working in it"),
        run_folder(tmp_path, resume=resume),
    ):
        pass


def test_a_resumed_run_waits_for_the_guard_of_the_one_before(tmp_path: Path) -> None:
    guard = FileLock(tmp_path)
    assert guard.acquire()
    threading.Timer(0.3, guard.release).start()
    with run_folder(tmp_path, resume=True):
        assert not guard.acquire()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with (
        pytest.raises(OutputError, match="cannot write to"),
        run_folder(tmp_path / "run", resume=False),
    ):
        pass


def test_a_discarded_folder_is_gone_unless_something_else_lies_in_it(tmp_path: Path) -> None:
    for name in ("ours", "shared"):
        with run_folder(tmp_path / name, resume=False) as folder:
            (folder / "events.jsonl").write_text("")
            (folder / "cifar100.journal").write_text("")
            if name == "shared":
                (folder / "notes.txt").write_text("mine")
            discard_records(folder)
    assert not (tmp_path / "ours").exists()
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["notes.txt"]


def test_a_folder_that_was_there_stays_when_its_run_is_discarded(tmp_path: Path) -> None:
    with run_folder(tmp_path, resume=False) as folder:
        (folder / "events.jsonl").write_text("")
        discard_records(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("order", ["sorted", "wnids-txt"])
def test_the_label_order_is_read_back_from_the_sidecar(tmp_path: Path, order: LabelOrder) -> None:
    book = load_prompt_book(TINYIMAGENET, find_prompts_dir(None), order)
    write_sidecar(tmp_path / "tinyimagenet.pt", book, order, "0" * 64)
    classes = json.loads((tmp_path / "tinyimagenet.json").read_text())["classes"]
    assert read_label_order(tmp_path / "tinyimagenet.pt") == order
    assert (classes == sorted(classes)) == (order == "sorted")
    assert len(set(classes)) == 200


def test_a_bare_file_tells_no_label_order(tmp_path: Path) -> None:
    assert read_label_order(tmp_path / "tinyimagenet.pt") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"label_order": "reversed"}'])
def test_a_damaged_sidecar_is_an_error_and_not_a_guess(tmp_path: Path, text: str) -> None:
    (tmp_path / "tinyimagenet.json").write_text(text)
    with pytest.raises(SubmissionError, match="label_order"):
        read_label_order(tmp_path / "tinyimagenet.pt")
