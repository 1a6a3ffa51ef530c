import json
from pathlib import Path

import pytest
import torch
from conftest import CliRunner

from challenge import spec
from challenge.spec import CIFAR100, TINYIMAGENET, DatasetSpec, EvaluatorSpec, Protocol


@pytest.fixture
def short_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """``quick``, but four updates instead of 400, of a network a sixteenth as wide."""
    monkeypatch.setitem(spec.PROTOCOLS, "quick", Protocol("quick", 1, updates=4, comparable=False))
    monkeypatch.setattr("challenge.evaluation.convnet.EVALUATOR", EvaluatorSpec(width=8))


def write_submission(folder: Path, dataset: DatasetSpec, ipc: int = 1) -> Path:
    rng = torch.Generator().manual_seed(0)
    folder.mkdir(exist_ok=True)
    images = torch.randn((ipc * dataset.num_classes, *dataset.image_shape), generator=rng)
    torch.save(images, folder / dataset.file_name)
    return folder / dataset.file_name


def write_test_set(folder: Path, dataset: DatasetSpec) -> None:
    rng = torch.Generator().manual_seed(1)
    labels = torch.arange(dataset.num_classes)
    images = torch.randn((len(labels), *dataset.image_shape), generator=rng)
    torch.save({"images_val": images, "labels_val": labels}, folder / f"{dataset.name}_test.pt")


@pytest.mark.usefixtures("short_protocol")
def test_a_run_folder_with_both_sets_gets_a_score_that_is_their_mean(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    for dataset in (CIFAR100, TINYIMAGENET):
        write_submission(tmp_path / "run", dataset)
        write_test_set(tmp_path, dataset)
    code, out, errors = run_cli(
        "evaluate", tmp_path / "run", "--data", tmp_path,
        "--protocol", "quick", "--rounds", "2", "--json",
    )  # fmt: skip
    document = json.loads(out.splitlines()[-1])
    (submission,) = document["submissions"]
    means = [submission["datasets"][name]["accuracy_mean"] for name in ("cifar100", "tinyimagenet")]
    assert code == 0
    assert document["protocol"] == "quick"
    assert submission["score"] == pytest.approx(sum(means) / 2)
    assert len(submission["datasets"]["cifar100"]["accuracies"]) == 2
    assert submission["datasets"]["cifar100"]["seconds"] > 0
    assert "takes about" in errors
    assert "not comparable" in errors


@pytest.mark.usefixtures("short_protocol")
def test_a_bare_tiny_imagenet_file_is_scored_under_both_label_orders(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    path = write_submission(tmp_path / "run", TINYIMAGENET)
    write_test_set(tmp_path, TINYIMAGENET)
    code, out, errors = run_cli(
        "evaluate", path, "--data", tmp_path, "--protocol", "quick", "--json"
    )
    entry = json.loads(out.splitlines()[-1])["submissions"][0]["datasets"]["tinyimagenet"]
    assert code == 0
    assert set(entry["accuracy_mean_by_label_order"]) == {"sorted", "wnids-txt"}
    assert entry["accuracy_mean"] == entry["accuracy_mean_by_label_order"]["sorted"]
    assert entry["accuracy_std"] is None
    assert "label order is not known" in errors


@pytest.mark.usefixtures("short_protocol")
def test_the_sidecar_says_the_order_and_the_flag_overrules_it(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    path = write_submission(tmp_path / "run", TINYIMAGENET)
    path.with_suffix(".json").write_text('{"label_order": "wnids-txt"}')
    write_test_set(tmp_path, TINYIMAGENET)
    arguments = ("evaluate", path, "--data", tmp_path, "--protocol", "quick", "--json")
    found = []
    for flag in ((), ("--label-order", "sorted")):
        _, out, _ = run_cli(*arguments, *flag)
        entry = json.loads(out.splitlines()[-1])["submissions"][0]["datasets"]["tinyimagenet"]
        found.append(entry["label_order"])
        assert "accuracy_mean_by_label_order" not in entry
    assert found == ["wnids-txt", "sorted"]


@pytest.mark.usefixtures("short_protocol")
def test_several_submissions_stand_side_by_side_in_a_table(
    run_cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ours", "theirs"):
        write_submission(tmp_path / name, CIFAR100)
    write_test_set(tmp_path, CIFAR100)
    code, out, _ = run_cli(
        "evaluate", "ours", "theirs/cifar100.pt", "--data", ".", "--protocol", "quick"
    )
    assert code == 0
    assert "ours" in out
    assert "theirs/cifar100.pt" in out
    assert "%" in out


def test_missing_data_is_told_with_the_names_that_are_looked_for(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    path = write_submission(tmp_path / "run", CIFAR100)
    code, _, errors = run_cli("evaluate", path, "--data", tmp_path / "nowhere")
    assert code == 1
    assert "cifar-100-python" in errors
    assert "cifar100_test.pt" in errors
    assert "Traceback" not in errors


def test_an_invalid_submission_is_not_evaluated(run_cli: CliRunner, tmp_path: Path) -> None:
    torch.save(torch.rand(100, 3, 32, 32), tmp_path / "cifar100.pt")
    write_test_set(tmp_path, CIFAR100)
    code, _, errors = run_cli("evaluate", tmp_path / "cifar100.pt", "--data", tmp_path)
    assert code == 1
    assert "pixels in 0..1" in errors
