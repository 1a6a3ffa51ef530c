import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from benches import CPU
from conftest import CliRunner
from test_random_weights import SHRUNKEN, SHRUNKEN_SD

from challenge.benchmarks import child, full_size, measure
from challenge.benchmarks.full_size import FullSize
from challenge.benchmarks.measure import Measurement
from challenge.benchmarks.profiling import LoopProfile
from challenge.clock import clock_since_now
from challenge.commands.benchmark_screen import tables_text
from challenge.errors import OutputError
from challenge.generators.loading import load_generator
from challenge.generators.public_configs import PUBLIC_MODELS
from challenge.settings import BenchmarkSettings

SETTINGS = BenchmarkSettings(
    preset="full-size",
    model="tiny",
    budget_s=6000.0,  # ten times what is needed, so that no part ends for want of time
    batch_sizes=(1, 4),
    seconds_per_row=0.01,
    device="cpu",
)
PARTS = [
    "rows",
    "sampler",
    "baselines",
    "generate",
    "profile",
    "official evaluation",
    "plain evaluation step",
    "short evaluation",
    "resolutions",
    "compile",
    "dtypes",
]
RUN = {"verdict": "VALID", "limit_s": 1200.0, "datasets": {"cifar100": {"generated": 4321}}}
PROFILE = LoopProfile(4, 10, 2.0, 20.0, 0.03, "seconds", 1.5, 0.44, "aten::mm")
PROTOCOL = {"protocol": "short", "images": 100_000, "forecast_s": 77.0, "measured_s": None}


class FakeRun:
    """Stands for the process of a real run: it looks at its model and leaves its record."""

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self.model_parts: list[str] = []

    def start(self, arguments: Sequence[str]) -> str:
        self.arguments = list(arguments)
        model, run_dir = (Path(self.value(flag)) for flag in ("--model", "--out"))
        self.model_parts = sorted(each.name for each in model.glob("*"))
        run_dir.mkdir()
        (run_dir / "run.json").write_text("{}")
        (run_dir / "cifar100.pt").write_bytes(b"large")
        return "process"

    def value(self, flag: str) -> str:
        return self.arguments[self.arguments.index(flag) + 1]

    def finish(self, process: str, timeout_s: float) -> dict[str, Any]:
        return dict(RUN)


@pytest.fixture
def fake_run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    run = FakeRun()
    monkeypatch.setattr(child, "start", run.start)
    monkeypatch.setattr(child, "finish", run.finish)
    return run


def new_full_size(folder: Path, settings: BenchmarkSettings = SETTINGS) -> FullSize:
    measurement = Measurement.of(settings, CPU, clock_since_now(), lambda text: None)
    return FullSize(measurement, folder, lambda text: None)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_part_is_measured_and_four_small_files_are_left(
    tmp_path: Path, fake_run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_size, "time_protocol", lambda *arguments: dict(PROTOCOL))
    monkeypatch.setattr(full_size, "time_plain_step", lambda *arguments: {"speed_up": 3.25})
    monkeypatch.setattr(measure, "compile_blocks", lambda network: 1)
    monkeypatch.setattr(Measurement, "profile", lambda self, best, folder: PROFILE)

    def write_table(document: dict[str, Any]) -> None:
        (tmp_path / "table.md").write_text(tables_text(document))

    document = new_full_size(tmp_path).run(write_table)
    assert list(document["parts"]) == PARTS
    assert [entry.get("error") for entry in document["parts"].values()] == [None] * len(PARTS)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "generate.json",
        "profile.txt",
        "results.json",
        "table.md",
    ]
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["rows"] == document["rows"]
    assert {row["decoder"] for row in kept["rows"]} == {"thumbnail", "vae", "taesdxl"}
    assert {row["dtype"] for row in kept["rows"]} == {"float32", "bfloat16"}
    assert [each["dtype"] for each in kept["parts"]["sampler"]["differences"]] == [
        "float32",
        "bfloat16",
    ]
    assert kept["parts"]["sampler"]["differences"][0]["latents_equal"]
    table = (tmp_path / "table.md").read_text()
    assert "| pipeline, batched | float32 | 32 | vae |" in table
    assert "3.0% of ten batches of a run is outside of UNet and decoder" in table
    assert (tmp_path / "profile.txt").read_text() == "aten::mm"
    assert "VALID, 4,321 images in 1200 s" in table
    assert "short with 100,000 images takes 77 s by forecast" in table
    assert "ours is 3.2 times the straightforward loop" in table
    assert "resolutions: left out: the model draws small images already" in table


def test_the_real_run_knows_nothing_of_other_runs(tmp_path: Path, fake_run: FakeRun) -> None:
    found = new_full_size(tmp_path)._generate(600.0)
    assert found == RUN
    assert fake_run.value("--model") == "tiny"
    assert fake_run.value("--limit-s") == "1200"
    assert fake_run.value("--cache-dir") == str(tmp_path / "cache")
    assert [each.name for each in tmp_path.iterdir()] == ["generate.json"]


@pytest.fixture(params=["sdxl-turbo", "sd-turbo"])
def random_settings(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> BenchmarkSettings:
    shrunken = {"sdxl-turbo": SHRUNKEN, "sd-turbo": SHRUNKEN_SD}[request.param]
    monkeypatch.setitem(PUBLIC_MODELS, request.param, shrunken)
    return replace(SETTINGS, model=request.param)


def test_a_random_model_lies_on_disk_for_the_real_run_and_is_taken_away_again(
    tmp_path: Path, fake_run: FakeRun, random_settings: BenchmarkSettings
) -> None:
    new_full_size(tmp_path, random_settings)._generate(600.0)
    assert {"model_index.json", "unet", "vae", "tokenizer"} < set(fake_run.model_parts)
    assert [each.name for each in tmp_path.iterdir()] == ["generate.json"]


def test_the_model_on_disk_loads_as_any_other(
    tmp_path: Path, random_settings: BenchmarkSettings
) -> None:
    measured = new_full_size(tmp_path, random_settings)
    measured._save_model(tmp_path / "model")
    loaded = load_generator(str(tmp_path / "model"), device=CPU, dtype=torch.float32)
    made, _ = measured._measurement.source.generator(torch.float32)
    for generator in (loaded, made):
        generator.encode_prompts(["a boat"])
    assert torch.equal(
        loaded.denoise(["a boat"], loaded.draw_noise([3], 128)),
        made.denoise(["a boat"], made.draw_noise([3], 128)),
    )


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    tmp_path: Path, random_settings: BenchmarkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**20))
    with pytest.raises(OutputError, match=r"0.0 GiB free, and the model takes"):
        new_full_size(tmp_path, random_settings)._save_model(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_parts_times_scale_with_the_budget(tmp_path: Path) -> None:
    def needs(budget_s: float) -> list[float]:
        settings = replace(SETTINGS, budget_s=budget_s)
        return [part.needs_s for part in new_full_size(tmp_path, settings)._parts()]

    assert needs(60.0) == pytest.approx([each / 10 for each in needs(600.0)])
    assert sum(needs(600.0)) < 500  # so all of them can be begun


def test_a_public_model_has_random_weights_and_another_its_own() -> None:
    assert BenchmarkSettings(preset="full-size").random_weights
    assert not BenchmarkSettings(preset="full-size", model="tiny").random_weights
    assert not BenchmarkSettings().random_weights


def test_a_budget_that_allows_nothing_is_an_error_and_every_part_says_why(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    arguments = ("--preset", "full-size", "--model", "tiny", "--budget-s", "0.01")
    code, _, errors = run_cli("benchmark", *arguments, "--out", tmp_path / "new")
    assert code == 1
    assert "no row was measured" in errors
    parts = json.loads((tmp_path / "new" / "results.json").read_text())["parts"]
    assert list(parts) == PARTS
    assert all("it needs about" in entry["skipped"] for entry in parts.values())


def test_a_folder_that_is_taken_is_refused(run_cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("mine")
    code, _, errors = run_cli("benchmark", "--preset", "full-size", "--out", tmp_path)
    assert code == 2
    assert "not empty" in errors
