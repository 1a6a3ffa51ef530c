import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CliRunner
from PIL import Image

from challenge import spec
from challenge.spec import CIFAR100, TINYIMAGENET, DatasetSpec, EvaluatorSpec, Protocol


@pytest.fixture
def short_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """``quick``, but four updates instead of 400, of a network a sixteenth as wide."""
    monkeypatch.setitem(spec.PROTOCOLS, "quick", Protocol("quick", 1, updates=4, comparable=False))
    monkeypatch.setattr("challenge.evaluation.convnet.EVALUATOR", EvaluatorSpec(width=8))


def write_submission(folder: Path, dataset: DatasetSpec, ipc: int = 1) -> Path:
    rng = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
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


def test_there_must_be_something_to_evaluate(run_cli: CliRunner, tmp_path: Path) -> None:
    code, _, errors = run_cli("evaluate")
    assert (code, errors) == (2, "error: no submission given; name a run folder or a .pt file\n")
    write_submission(tmp_path, CIFAR100)
    code, _, errors = run_cli("evaluate", tmp_path, "--dataset", "tinyimagenet")
    assert code == 1
    assert f"no submission of tinyimagenet in {tmp_path}; leave --dataset away" in errors


def test_an_invalid_submission_is_not_evaluated(run_cli: CliRunner, tmp_path: Path) -> None:
    torch.save(torch.rand(100, 3, 32, 32), tmp_path / "cifar100.pt")
    write_test_set(tmp_path, CIFAR100)
    code, _, errors = run_cli("evaluate", tmp_path / "cifar100.pt", "--data", tmp_path)
    assert code == 1
    assert "pixels in 0..1" in errors


def evaluated(out: str, name: str = "cifar100") -> dict[str, Any]:
    """The data set's entry in the document that ``--json`` printed, of the first submission."""
    entry: dict[str, Any] = json.loads(out.splitlines()[-1])["submissions"][0]["datasets"][name]
    return entry


@pytest.mark.usefixtures("short_protocol")
def test_the_document_tells_classes_confusions_and_seconds(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    write_submission(tmp_path / "run", CIFAR100)
    write_test_set(tmp_path, CIFAR100)
    arguments = ("evaluate", tmp_path / "run", "--data", tmp_path, "--protocol", "quick")
    code, out, _ = run_cli(*arguments, "--json", "--compare-plain")
    entry = evaluated(out)
    assert code == 0
    assert len(entry["accuracy_by_class"]) == 100
    assert entry["accuracy_by_class"][1]["class"] == "aquarium_fish"
    assert 0 <= entry["train_accuracy_mean"] <= 1
    assert entry["seconds"] > 0
    assert entry["forecast_s"] > 0
    assert len(entry["losses"]) == 1
    assert entry["plain"]["speed_up"] == pytest.approx(
        entry["plain"]["plain_step_s"] / entry["plain"]["step_s"]
    )
    warnings = " ".join(entry["warnings"])
    assert "chance level (1.0%)" in warnings
    assert "official script refuses this set: it takes 10 images a class" in warnings
    on_disk = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert on_disk["submissions"][0]["datasets"]["cifar100"]["accuracies"] == entry["accuracies"]


@pytest.mark.usefixtures("short_protocol")
def test_an_evaluation_never_overwrites_another(run_cli: CliRunner, tmp_path: Path) -> None:
    write_submission(tmp_path / "run", CIFAR100)
    write_test_set(tmp_path, CIFAR100)
    arguments = ("evaluate", tmp_path / "run", "--data", tmp_path, "--protocol", "quick")
    (tmp_path / "run" / "evaluation.json").write_text("mine")
    assert run_cli(*arguments)[0] == 0
    assert (tmp_path / "run" / "evaluation.json").read_text() == "mine"
    assert (tmp_path / "run" / "evaluation-2.json").exists()
    code, _, errors = run_cli(*arguments, "--out", tmp_path / "run" / "evaluation.json")
    assert code == 2
    assert "is there already" in errors


@pytest.mark.usefixtures("short_protocol")
def test_plots_are_png_files_beside_the_result(run_cli: CliRunner, tmp_path: Path) -> None:
    write_submission(tmp_path / "run", CIFAR100)
    write_test_set(tmp_path, CIFAR100)
    place = tmp_path / "results" / "first.json"
    arguments = ("evaluate", tmp_path / "run", "--data", tmp_path, "--protocol", "quick")
    code, out, _ = run_cli(*arguments, "--out", place, "--plots")
    assert code == 0
    plots = sorted(place.parent.glob("*.png"))
    assert [plot.name for plot in plots] == [
        "run-cifar100-confusion.png",
        "run-cifar100-learning-curve.png",
    ]
    for plot in plots:
        assert str(plot) in out
        with Image.open(plot) as image:
            assert image.width > 500
            assert len(image.convert("L").getcolors(256) or []) > 5


@pytest.mark.usefixtures("short_protocol")
def test_labels_beside_the_file_are_trained_on(run_cli: CliRunner, tmp_path: Path) -> None:
    path = write_submission(tmp_path / "run", CIFAR100, ipc=2)
    labels = torch.arange(100).repeat(2)
    labels[:7] = 99  # unequal counts
    torch.save(labels, tmp_path / "run" / "cifar100_labels.pt")
    write_test_set(tmp_path, CIFAR100)
    arguments = ("evaluate", path, "--data", tmp_path, "--protocol", "quick", "--json")
    _, out, errors = run_cli(*arguments)
    assert evaluated(out)["labels_file"]
    assert evaluated(out)["ipc"] == 1
    assert "200 images, 1 to 9 a class" in errors
    assert f"warning: {path}: values that no pixel can have" in errors
    assert "labels are those of the labels file" in errors
    with_labels = evaluated(out)["losses"]
    (tmp_path / "run" / "cifar100_labels.pt").unlink()
    _, out, _ = run_cli(*arguments)
    assert not evaluated(out)["labels_file"]
    assert evaluated(out)["losses"] != with_labels


@pytest.mark.usefixtures("short_protocol")
def test_a_run_of_several_rounds_trains_each_round_on_its_own_set(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    for number in (1, 2):
        write_submission(tmp_path / "run" / f"round-{number}", CIFAR100, ipc=number)
    write_test_set(tmp_path, CIFAR100)
    arguments = ("--data", tmp_path, "--protocol", "quick", "--json")
    code, out, errors = run_cli("evaluate", tmp_path / "run", *arguments)
    assert code == 0
    assert "2 sets, one a round" in errors
    both = evaluated(out)["losses"]
    assert len(both) == 2
    _, out, _ = run_cli("evaluate", tmp_path / "run" / "round-1", *arguments)
    assert evaluated(out)["losses"] == both[:1]
    code, _, errors = run_cli("evaluate", tmp_path / "run", *arguments, "--rounds", "3")
    assert code == 2
    assert "holds 2 sets, one a round" in errors


@pytest.mark.usefixtures("short_protocol")
def test_scores_txt_is_the_official_line(run_cli: CliRunner, tmp_path: Path) -> None:
    for spec_ in (CIFAR100, TINYIMAGENET):
        write_submission(tmp_path / "run", spec_)
        write_test_set(tmp_path, spec_)
    place = tmp_path / "scores.txt"
    arguments = ("--data", tmp_path, "--protocol", "quick", "--json", "--scores-txt", place)
    code, out, _ = run_cli("evaluate", tmp_path / "run", *arguments)
    assert code == 0
    score = json.loads(out.splitlines()[-1])["submissions"][0]["score"]
    assert place.read_text() == f"correct: {score}"
    place.unlink()
    (tmp_path / "run" / "tinyimagenet.pt").unlink()
    code, _, errors = run_cli("evaluate", tmp_path / "run", *arguments)
    assert code == 1
    assert "holds only CIFAR-100" in errors
    code, _, errors = run_cli("evaluate", tmp_path / "run", "other.pt", *arguments)
    assert code == 2
    assert "--scores-txt holds one number" in errors


@pytest.mark.usefixtures("short_protocol")
def test_another_network_is_not_comparable(run_cli: CliRunner, tmp_path: Path) -> None:
    path = write_submission(tmp_path / "run", CIFAR100)
    write_test_set(tmp_path, CIFAR100)
    arguments = ("--data", tmp_path, "--protocol", "quick", "--network", "convnet4", "--json")
    code, out, errors = run_cli("evaluate", path, *arguments)
    document = json.loads(out.splitlines()[-1])
    assert code == 0
    assert document["network"] == "convnet4"
    assert not document["comparable"]
    assert "convnet4 is not the official one" in errors


def test_bfloat16_is_refused_where_it_would_be_ignored(
    run_cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("challenge.environment.resolve_device", lambda name: torch.device("cuda:0"))
    code, _, errors = run_cli("evaluate", tmp_path / "any.pt", "--precision", "bfloat16")
    assert code == 2
    assert "--precision bfloat16 is for a CPU, and this is cuda:0" in errors


def test_a_compiled_step_is_for_a_gpu(run_cli: CliRunner, tmp_path: Path) -> None:
    code, _, errors = run_cli("evaluate", tmp_path / "any.pt", "--compile", "--device", "cpu")
    assert code == 2
    assert "--compile is for a GPU, and this is a CPU" in errors
