import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FakeClock
from PIL import Image
from safetensors.torch import load_file
from small_training import small_books, small_data, small_settings

from challenge.embedded_training.__main__ import main
from challenge.embedded_training.settings import TrainingSettings
from challenge.embedded_training.stages import TrainingRun
from challenge.embedded_training.training_log import TrainingLog
from challenge.environment import device_title
from challenge.errors import UsageError
from challenge.spec import DATASETS


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("generator_steps", 0, r"--generator-steps 0 is too few; give at least 1"),
        ("made_per_class", 1, r"--made-per-class 1 is too few; give at least 2"),
        ("learning_rate", float("nan"), r"--learning-rate nan cannot be; give a number above 0"),
        ("save_every_s", float("inf"), r"--save-every-s inf cannot be; give a number above 0"),
        ("class_weight", -0.1, r"--class-weight -0.1 is no weight; give 0 or more"),
        ("early_steps", -1, r"--early-steps -1 is too few; give at least 0"),
        ("seed", 2**64, r"--seed 18446744073709551616 cannot be; give a whole number from 0 to"),
    ],
)
def test_numbers_that_cannot_be_are_refused(name: str, value: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainingSettings(data=Path("data"), out=Path("out"), **{name: value})  # type: ignore[arg-type]


def test_a_missing_data_set_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = told(capsys, tmp_path, tmp_path / "out")
    assert code == 1
    assert "cifar-100-python" in line
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    code, line = told(capsys, tmp_path, tmp_path / "file")
    assert (code, line) == (
        2,
        f"{tmp_path / 'file'} is a file, expected a folder; give another --out",
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_there_must_be_a_unet_to_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = told(capsys, tmp_path, tmp_path / "out", "--export-now")
    assert code == 2
    assert line.endswith("so no UNet to export; train first, without --export-now")
    assert not list(tmp_path.iterdir())


def test_nothing_is_exported_before_the_unet_has_seen_all_data_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "generator.pt").touch()
    (tmp_path / "features_cifar100.pt").touch()
    code, line = told(capsys, tmp_path, tmp_path, "--export-now")
    assert code == 2
    assert line.startswith(f"there is no features_tinyimagenet.pt in {tmp_path} yet: ")
    assert line.endswith("train on, without --export-now")


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_command_writes_the_model_and_what_it_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, kind: str
) -> None:
    device = torch.device("cpu") if kind == "cpu" else request.getfixturevalue("gpu")

    def small_run(_: object, on: torch.device, clock: FakeClock) -> TrainingRun:
        log = TrainingLog(tmp_path / "log.jsonl", clock)
        settings = small_settings(tmp_path)
        return TrainingRun(settings, on, small_data(), small_books(), clock, log)

    monkeypatch.setattr(TrainingRun, "open", small_run)
    assert main(["--data", "data", "--out", str(tmp_path), "--device", str(device)]) == 0
    tensors = load_file(tmp_path / "model" / "weights.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert record["device"] == device_title(device)
    for name in DATASETS:
        samples = np.asarray(Image.open(tmp_path / f"samples_{name}.png"))
        assert samples[:, 190:].std() > 20
    log = (tmp_path / "log.jsonl").read_text()
    assert log.count("class_shifts") == 2


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_damaged_recipe_is_told_before_any_image_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "recipe.json").write_text(content)
    code, line = told(capsys, tmp_path / "no data", tmp_path)
    assert code == 2
    assert line.startswith(f"{tmp_path / 'recipe.json'} is damaged (")


def told(capsys: pytest.CaptureFixture[str], data: Path, out: Path, *flags: str) -> tuple[int, str]:
    """Exit code and the one line on stderr, but for that which says what is being read."""
    code = main(["--data", str(data), "--out", str(out), "--device", "cpu", *flags])
    first, line = capsys.readouterr().err.splitlines()
    assert first == f"reading the training images in {data}"
    return code, line


def test_help_names_the_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    assert "--export-now" in capsys.readouterr().out
