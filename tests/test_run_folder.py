import json
import os
from pathlib import Path

import pytest
from report_runs import write_evaluation, write_images, write_run

from challenge.errors import SubmissionError
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
