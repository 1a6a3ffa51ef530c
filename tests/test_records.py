import json
import os
from contextlib import closing
from pathlib import Path

import pytest
from conftest import FakeClock

from challenge.errors import OutputError, SubmissionError
from challenge.events import Notice
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.records import (
    EventLog,
    create_run_dir,
    discard_run_dir,
    read_label_order,
    write_json,
    write_sidecar,
)
from challenge.spec import TINYIMAGENET, LabelOrder


def test_events_are_lines_of_json_with_their_name_and_time(
    tmp_path: Path, clock: FakeClock
) -> None:
    with closing(EventLog(tmp_path / "events.jsonl", clock)) as log:
        clock.advance(1.5)
        log.write(Notice("hello", "warning"))
        line = json.loads((tmp_path / "events.jsonl").read_text())  # there before the log is closed
    assert line == {"event": "Notice", "t_s": 1.5, "text": "hello", "level": "warning"}


def test_a_document_replaces_the_one_before_in_one_step(tmp_path: Path) -> None:
    for value in (1, 2):
        write_json(tmp_path / "run.json", {"value": value, "path": tmp_path})
    assert json.loads((tmp_path / "run.json").read_text()) == {"value": 2, "path": str(tmp_path)}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_new_or_empty_folder_is_taken_and_left_empty(tmp_path: Path) -> None:
    created = create_run_dir(tmp_path / "a" / "b")
    assert list(created.iterdir()) == []
    assert create_run_dir(created) == created


def test_a_folder_that_holds_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(OutputError, match="not empty; a run never overwrites"):
        create_run_dir(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot write to"):
        create_run_dir(tmp_path / "run")


def test_a_discarded_folder_is_gone_unless_something_else_lies_in_it(tmp_path: Path) -> None:
    for name in ("ours", "shared"):
        create_run_dir(tmp_path / name)
        (tmp_path / name / "events.jsonl").write_text("")
        (tmp_path / name / "cifar100.journal").write_text("")
    (tmp_path / "shared" / "notes.txt").write_text("mine")
    discard_run_dir(tmp_path / "ours")
    discard_run_dir(tmp_path / "shared")
    assert not (tmp_path / "ours").exists()
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["notes.txt"]


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
