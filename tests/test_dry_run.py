import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CliRunner
from safetensors.torch import save_file

from challenge.commands.dry_run import borrowed_run_dir, weights_bytes
from challenge.errors import BudgetError, GenerationError, OutputError
from challenge.generators.loading import load_generator
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.generators.weights import Weights
from challenge.scheduler import Scheduler
from challenge.settings import GenerateSettings
from challenge.stop import StopRequest

DRY = ("generate", "--dry-run", "--model", "tiny", "--dataset", "cifar100", "--json")


@pytest.fixture(autouse=True)
def short_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("challenge.commands.dry_run.TRIAL_S", 0.2)
    monkeypatch.setattr("challenge.commands.dry_run.TRIAL_BYTES", 2**25)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ask(run_cli: CliRunner, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code and document of a dry run."""
    code, out, errors = run_cli(*DRY, *arguments)
    assert "Traceback" not in errors
    document: dict[str, Any] = json.loads(out.splitlines()[-1])
    return code, document


def test_ready_with_a_plan_for_each_set_and_nothing_left_but_the_calibration(
    run_cli: CliRunner, empty_folder: Path, cache_dir: Path
) -> None:
    code, document = ask(run_cli, "--dataset", "all", "--limit-s", "120")
    assert (code, document["verdict"], document["problems"]) == (0, "READY", [])
    plan = document["plan"]
    assert [each["dataset"] for each in plan["datasets"]] == ["cifar100", "tinyimagenet"]
    for each in plan["datasets"]:
        assert each["images"] > 0
        assert {"generate", "write", "augment", "fsync"} == set(each["phases_s"])
        assert each["phases_s"]["generate"] == pytest.approx(each["images"] / each["images_per_s"])
    shared = {"start_up", "import", "load", "encode", "fit", "warm_up", "other"}
    assert set(plan["shared_s"]) == shared
    assert plan["shared_s"]["warm_up"] > 0
    assert document["checks"]["disk"]["num_bytes"] == 2**25
    assert 2**27 < document["checks"]["memory"]["peak_bytes"] < 2**40
    assert list(empty_folder.iterdir()) == []
    assert [str(path) for path in cache_dir.iterdir()] == [document["calibration"]]


def test_the_model_is_loaded_once_for_both_sets(
    run_cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def counting(*arguments: Any, **named: Any) -> OneStepGenerator:
        loaded.append(arguments)
        return load_generator(*arguments, **named)

    monkeypatch.setattr("challenge.generators.loading.load_generator", counting)
    code, _, errors = run_cli(*DRY, "--dataset", "all", "--limit-s", "600")
    assert code == 0
    assert len(loaded) == 1
    assert errors.count("loading the model") == 1


def test_the_run_after_it_is_planned_with_its_costs(run_cli: CliRunner, tmp_path: Path) -> None:
    _, document = ask(run_cli, "--limit-s", "60", "--ipc", "1")
    plan = ("--model", "tiny", "--dataset", "cifar100", "--ipc", "1", "--limit-s", "60")
    assert run_cli("generate", *plan, "--out", tmp_path / "run")[0] == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["plan"]["measured"] is True
    assert record["plan"]["basis"].startswith("measured here by a dry run on")
    assert record["plan"]["datasets"] == document["plan"]["datasets"]


def test_without_json_the_panel_answers_and_shows_the_plan(run_cli: CliRunner) -> None:
    code, out, errors = run_cli(*DRY[:-1], "--limit-s", "60")
    assert code == 0
    for expected in ("READY", "MB/s", "costs kept for the next runs", "batch size", "CIFAR-100"):
        assert expected in out
    assert errors.count("loading the model") == 1


def test_too_short_a_limit_is_not_ready_with_numbers(run_cli: CliRunner) -> None:
    code, document = ask(run_cli, "--limit-s", "0.1")
    assert (code, document["verdict"]) == (1, "NOT READY")
    assert "CIFAR-100 has 0.1 s" in document["problems"][0]
    assert "raise --limit-s by" in document["problems"][0]
    assert document["plan"]["datasets"][0]["images"] == 0


def test_all_that_is_missing_is_told_at_once_and_nothing_is_loaded(
    run_cli: CliRunner, empty_folder: Path
) -> None:
    (empty_folder / "taken").mkdir()
    (empty_folder / "taken" / "mine.txt").write_text("mine")
    code, document = ask(
        run_cli, "--model", "./nowhere", "--prompts-dir", "no-books", "--out", "taken"
    )
    assert code == 1
    books, model, folder = document["problems"]
    assert "no-books" in books
    assert "./nowhere" in model
    assert "taken is not empty" in folder
    assert document["plan"] is None
    assert [path.name for path in (empty_folder / "taken").iterdir()] == ["mine.txt"]


def test_a_gpu_that_is_not_there_is_not_ready(run_cli: CliRunner) -> None:
    code, document = ask(run_cli, "--device", "cuda:63")
    assert code == 1
    assert "no device cuda:63" in document["problems"][0]


def test_a_folder_that_cannot_be_written_is_not_ready(
    run_cli: CliRunner, empty_folder: Path
) -> None:
    (empty_folder / "file").write_text("mine")
    code, document = ask(run_cli, "--out", "file/run")
    assert code == 1
    assert document["problems"][0].startswith("cannot write to file/run")


def test_a_count_that_the_disk_cannot_hold_is_not_ready(run_cli: CliRunner) -> None:
    code, document = ask(run_cli, "--limit-s", "60", "--ipc", "2", "--max-file-gib", "0.002")
    assert code == 1
    assert "a file of 2 images a class of CIFAR-100 has no room" in document["problems"][0]


def test_no_room_for_a_single_image_a_class_is_not_ready(run_cli: CliRunner) -> None:
    code, document = ask(run_cli, "--limit-s", "60", "--max-file-gib", "0.0001")
    assert code == 1
    assert "there is no room for one image a class of cifar100" in document["problems"][0]


def test_what_the_run_itself_calls_too_short_is_not_ready_whatever_the_plan_says(
    run_cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_short(scheduler: Scheduler, now_s: float) -> None:
        if scheduler.generated:
            raise BudgetError("too short, says the scheduler")

    monkeypatch.setattr(Scheduler, "_require_first_round_fits", too_short)
    monkeypatch.setattr("challenge.commands.dry_run.TRIAL_S", 60.0)
    code, document = ask(run_cli, "--limit-s", "120")
    assert code == 1
    assert document["plan"]["problems"] == []
    assert document["problems"] == ["too short, says the scheduler"]


def test_what_is_missing_is_told_before_anything_is_loaded(
    run_cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr("challenge.commands.dry_run.open_run", fail)
    code, document = ask(run_cli, "--model", "./nowhere")
    assert (code, len(document["problems"])) == (1, 1)


def test_a_run_cannot_be_resumed_and_tried_out(run_cli: CliRunner) -> None:
    code, _, errors = run_cli(*DRY, "--resume", "somewhere")
    assert code == 2
    assert "leave --resume away" in errors


def test_a_full_disk_is_not_ready(run_cli: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, document = ask(run_cli, "--limit-s", "60")
    assert code == 1
    assert "No space left on device; make room" in document["problems"][0]


def test_weights_that_do_not_fit_are_not_ready_and_not_loaded(
    run_cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("challenge.commands.dry_run.weights_bytes", lambda model, dtype: 2**60)
    code, document = ask(run_cli)
    assert code == 1
    assert "the model's weights take" in document["problems"][0]
    assert document["plan"] is None


def test_a_model_that_fails_is_not_ready(
    run_cli: CliRunner, monkeypatch: pytest.MonkeyPatch, empty_folder: Path
) -> None:
    def fail(*arguments: object) -> None:
        raise GenerationError("the model failed: a test")

    monkeypatch.setattr(OneStepGenerator, "generate", fail)
    code, document = ask(run_cli)
    assert code == 1
    assert document["problems"] == ["the model failed: a test"]
    assert list(empty_folder.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_warning(
    run_cli: CliRunner, empty_folder: Path
) -> None:
    (empty_folder / "file").write_text("mine")
    code, document = ask(run_cli, "--limit-s", "60", "--ipc", "1", "--cache-dir", "file/cache")
    assert (code, document["calibration"]) == (0, None)
    assert any("file/cache" in warning for warning in document["warnings"])


def test_a_signal_ends_it_and_leaves_nothing_behind(
    run_cli: CliRunner, monkeypatch: pytest.MonkeyPatch, empty_folder: Path, cache_dir: Path
) -> None:
    monkeypatch.setattr("challenge.commands.dry_run.StopRequest", lambda: StopRequest("SIGTERM"))
    code, _, _ = run_cli(*DRY, "--limit-s", "60")
    assert code == 143
    assert list(empty_folder.iterdir()) == []
    assert not cache_dir.exists()


def test_a_borrowed_folder_is_given_back_as_it_was(empty_folder: Path) -> None:
    with borrowed_run_dir(Path("a/b/c")) as folder:
        (folder / "file").write_text("of the trial")
        assert folder.parent == Path("a/b/c")
    assert list(empty_folder.iterdir()) == []
    (empty_folder / "a").mkdir()
    with borrowed_run_dir(Path("a/b")):
        Path("a/b/theirs").write_text("theirs")
    assert [path.name for path in Path("a/b").iterdir()] == ["theirs"]
    with pytest.raises(OutputError, match="not empty"), borrowed_run_dir(Path("a/b")):
        pass
    assert Path("a/b/theirs").read_text() == "theirs"


def test_weights_of_half_precision_take_twice_the_room_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        (tmp_path / name).mkdir()
        for dtype, variant in ((torch.float16, ".fp16"), (torch.float32, "")):
            values = {"weight": torch.zeros(10_000, dtype=dtype)}
            save_file(values, tmp_path / name / f"model{variant}.safetensors")
    found = Weights(tmp_path, tmp_path, source="a test")
    monkeypatch.setattr("challenge.generators.weights.find_weights", lambda *_: found)
    settings = GenerateSettings(model="a model")
    assert weights_bytes(settings, "float16") == pytest.approx(80_000, rel=0.01)
    assert weights_bytes(settings, "float32") == 2 * weights_bytes(settings, "float16")
    assert weights_bytes(GenerateSettings(model="tiny"), "float32") == 0
