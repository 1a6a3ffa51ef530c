import json
import os
from pathlib import Path
from typing import Any

import pytest
from report_runs import write_evaluation, write_images, write_run

from challenge.errors import SubmissionError
from challenge.report.page import render
from challenge.report.run_folder import open_runs


def test_a_finished_run_is_read_without_a_remark(tmp_path: Path) -> None:
    (run,) = open_runs((write_run(tmp_path / "first"),))
    assert run.name == "first"
    assert run.record["verdict"] == "VALID"
    assert len(run.of("BatchFinished", "cifar100")) == 6
    assert run.of("BatchFinished", "tinyimagenet") == []
    assert run.image_sets["cifar100"].count == 300
    assert run.remarks == []


def test_damage_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "first")
    (folder / "run.json").write_text('{"verdict": ')
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"event": "Batch')
    (folder / "tinyimagenet.journal").write_bytes(b"no journal")
    (run,) = open_runs((folder,))
    assert run.record == {}
    assert len(run.events) == 10
    told = " | ".join(run.remarks)
    assert "run.json cannot be read" in told
    assert "1 of 11 lines cannot be read" in told
    assert "no pictures of Tiny-ImageNet" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"plan": 3}, "run.json: plan is 3, which cannot be read"),
        ({"settings": []}, "run.json: settings is [], which"),
        ({"elapsed_s": "x"}, "run.json: elapsed_s is 'x', which"),
        ({"limit_s": None}, "run.json: limit_s is None, which"),
        ({"problems": 5}, "run.json: problems is 5, which"),
        ({"phases_s": "x"}, "run.json: phases_s is 'x', which"),
        ({"generator": 4}, "run.json: generator is 4, which"),
        ({"datasets": [1]}, "run.json: datasets is [1], which"),
        ({"datasets": {"cifar100": 7}}, "run.json: cifar100 is 7, which"),
        ({"datasets": {"cifar100": {"ipc": "x"}}}, "run.json, cifar100: generated is None, which"),
    ],
)
def test_a_value_of_another_kind_is_told_and_the_page_is_made_without_it(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    folder = write_run(tmp_path / "first")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | change))
    (run,) = open_runs((folder,))
    assert any(told in remark for remark in run.remarks)
    assert "42.5" in render([run], None, 1) or "datasets" in change


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_a_file_that_is_no_longer_what_was_recorded_is_told(tmp_path: Path, change: str) -> None:
    folder = write_run(tmp_path / "first")
    if change == "gone":
        (folder / "cifar100.pt").unlink()
        expected = "cifar100.pt is not there any more: what follows is told by run.json"
    else:
        (folder / "cifar100.pt").write_bytes(b"")
        expected = "cifar100.pt was changed since: it has 0 bytes, and run.json tells of 4"
    (run,) = open_runs((folder,))
    assert run.remarks == [expected]


def test_a_killed_run_is_what_its_journal_holds(tmp_path: Path) -> None:
    write_images(tmp_path)
    (run,) = open_runs((tmp_path,))
    assert run.image_sets["cifar100"].count == 300
    assert any("not finished, or was killed" in remark for remark in run.remarks)


def test_a_folder_without_a_run_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="holds nothing of a run"):
        open_runs((tmp_path,))
    with pytest.raises(SubmissionError, match="no such folder"):
        open_runs((tmp_path / "nowhere",))
    (tmp_path / "cifar100.pt").write_bytes(b"mine")
    with pytest.raises(SubmissionError, match=r"\(no pictures of CIFAR-100: .*cifar100\.pt"):
        open_runs((tmp_path,))


def test_each_round_is_a_run_with_the_evaluation_of_all(tmp_path: Path) -> None:
    for number in (1, 2):
        write_run(tmp_path / f"round-{number}")
    write_evaluation(tmp_path)
    runs = open_runs((tmp_path,))
    assert [run.name for run in runs] == [f"{tmp_path.name}/round-{n}" for n in (1, 2)]
    assert all(run.evaluations["cifar100"]["accuracy_mean"] == 0.5 for run in runs)


def test_the_newest_evaluation_of_this_run_counts(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "ours")
    write_evaluation(folder)
    both = json.loads((folder / "evaluation.json").read_text())
    (ours,) = both["submissions"]
    ours["datasets"]["cifar100"]["accuracy_mean"] = 0.6
    theirs = json.loads(json.dumps(ours).replace("0.6", "0.9")) | {"path": "theirs"}
    both["submissions"] = [ours, theirs]
    (folder / "evaluation-2.json").write_text(json.dumps(both))
    os.utime(folder / "evaluation.json", (1, 1))
    (run,) = open_runs((folder,))
    assert run.evaluations["cifar100"]["accuracy_mean"] == 0.6
    assert run.evaluations["cifar100"]["file"] == "evaluation-2.json"
