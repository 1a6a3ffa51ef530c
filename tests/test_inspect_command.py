import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CliRunner

from challenge.evaluation.classifier import TrainingPlan
from challenge.measures import features
from challenge.spec import CIFAR100


def write_set(folder: Path, contrast: float = 1.0) -> Path:
    rng = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(contrast * torch.randn((200, 3, 32, 32), generator=rng), folder / "cifar100.pt")
    return folder


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "PLAN", TrainingPlan(steps=1, batch=8))


def document(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def test_two_sets_are_measured_beside_real_images(
    run_cli: CliRunner, many_real_images: Path, tmp_path: Path
) -> None:
    ours, theirs = write_set(tmp_path / "ours"), write_set(tmp_path / "theirs", 0.3)
    arguments = ("--data", many_real_images, "--features", "pixels", "--json")
    code, out, _ = run_cli("inspect", ours, theirs / "cifar100.pt", *arguments)
    found = document(out)
    assert code == 0
    assert found["schema_version"] == 1
    assert [each["path"] for each in found["sets"]] == [
        str(ours / "cifar100.pt"),
        str(theirs / "cifar100.pt"),
    ]
    first, second = (each["overall"]["made"]["contrast"] for each in found["sets"])
    assert first > 2 * second
    assert found["sets"][0]["compared_per_class"] == 2
    assert found["sets"][0]["overall"]["real"] == found["sets"][1]["overall"]["real"]


@pytest.mark.usefixtures("small_network")
def test_the_table_names_the_features_and_the_guard(
    run_cli: CliRunner, many_real_images: Path, tmp_path: Path
) -> None:
    written = tmp_path / "found" / "measures.json"
    arguments = ("--data", many_real_images, "--out", written)
    code, out, errors = run_cli("inspect", write_set(tmp_path / "ours"), *arguments)
    assert code == 0
    assert "the challenge's ConvNet, trained on half of the real training images" in out
    assert "Vendi score / n" in out
    assert "reward blurry averages" in out
    assert "near-duplicates: 0 of 200 images" in out
    assert "features are the challenge's ConvNet" in errors
    assert json.loads(written.read_text())["sets"][0]["features"]["name"] == "convnet"
    code, _, errors = run_cli("inspect", tmp_path / "ours", *arguments)
    assert code == 2
    assert "is there already" in errors


def test_blurred_sets_get_a_warning(
    run_cli: CliRunner, many_real_images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "blurred"
    folder.mkdir()
    rng = torch.Generator().manual_seed(0)
    coarse = torch.randn((100, 3, 4, 4), generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic")
    torch.save(smooth, folder / CIFAR100.file_name)
    arguments = ("--data", many_real_images, "--features", "pixels")
    _, out, _ = run_cli("inspect", folder, *arguments)
    assert "warning: the images are blurred" in out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("nowhere",), 1, "give a submission such as cifar100.pt"),
        (("nowhere", "--per-class", "0"), 2, "--per-class 0 is not a count"),
        ((), 2, ""),
    ],
)
def test_what_cannot_be_measured_is_told_in_a_line(
    arguments: tuple[str, ...], code: int, told: str, run_cli: CliRunner
) -> None:
    found, _, errors = run_cli("inspect", *arguments)
    assert found == code
    assert told in errors
    assert "Traceback" not in errors


def test_missing_training_images_are_told(run_cli: CliRunner, tmp_path: Path) -> None:
    code, _, errors = run_cli("inspect", write_set(tmp_path / "ours"), "--data", tmp_path)
    assert code == 1
    assert "cifar-100-python" in errors
