"""What prepare keeps is what a run finds: through the command line, with the embedded model."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import CliRunner
from pipelines import small_pipeline

from challenge import cli
from challenge.generators import decoder_fitting, parts

FLAGS = ("--model", "tiny", "--dataset", "cifar100")

PLAIN = ("--prompt-preset", "plain")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with what prepare leaves for CIFAR-100."""
    folder = tmp_path_factory.mktemp("prepared-cache")
    assert cli.main(["prepare", *FLAGS, "--cache-dir", str(folder), "--json"]) == 0
    return folder


def run(run_cli: CliRunner, out: Path, *flags: str | Path) -> dict[str, Any]:
    code, _, errors = run_cli(
        "generate", *FLAGS, "--ipc", "1", "--augment", "none", "--limit-s", "100",
        "--out", out, *flags, "--json",
    )  # fmt: skip
    assert code == 0, errors
    record: dict[str, Any] = json.loads((out / "run.json").read_text())
    return record


def test_a_run_uses_what_was_kept_and_says_so(
    kept: Path, tmp_path: Path, run_cli: CliRunner
) -> None:
    record = run(run_cli, tmp_path / "run", "--cache-dir", kept)
    used = record["notes"]["prepared"]
    names = [Path(entry["path"]).name for entry in used]
    assert sorted(name.partition("-")[0] for name in names) == ["decoder", "embeddings"]
    assert all(
        entry["age_s"] >= 0 and entry["seconds"] >= 0 for entry in record["notes"]["prepared"]
    )
    assert record["generator"]["decoder"].startswith("linear ")
    assert record["notes"]["decoder cifar100"]["fidelity"]["32"]["psnr_db"] > 30
    assert record["notes"]["first_batch_s"] > 0


def test_with_all_that_is_kept_a_run_reads_the_unet_and_nothing_else(
    tmp_path: Path, run_cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cache = tmp_path / "model", tmp_path / "cache"
    small_pipeline().save_pretrained(model)
    monkeypatch.setattr(decoder_fitting, "GOOD_ENOUGH_DB", 0.0)  # its VAE has random weights
    read: list[str] = []
    load_network = parts.load_network

    def noting(name: str, *arguments: Any) -> Any:
        read.append(name)
        return load_network(name, *arguments)

    monkeypatch.setattr(parts, "load_network", noting)
    # its tokenizer makes a token of each letter: diverse prompts would be too long
    flags = ("--model", model, "--dataset", "cifar100", "--cache-dir", cache, *PLAIN)
    assert run_cli("prepare", *flags)[0] == 0
    assert sorted(read) == ["text_encoder", "text_encoder_2", "unet", "vae"]
    read.clear()
    run(run_cli, tmp_path / "run", *flags)
    assert read == ["unet"]


def test_no_prepared_ignores_it(kept: Path, tmp_path: Path, run_cli: CliRunner) -> None:
    record = run(run_cli, tmp_path / "run", "--cache-dir", kept, "--no-prepared")
    assert "prepared" not in record["notes"]
    assert record["generator"]["decoder"] == "vae"


def test_damaged_files_are_told_and_done_without(
    kept: Path, tmp_path: Path, run_cli: CliRunner
) -> None:
    cache = tmp_path / "cache" / "prepared"
    cache.mkdir(parents=True)
    for path in (kept / "prepared").iterdir():
        (cache / path.name).write_bytes(path.read_bytes()[:500])
    record = run(run_cli, tmp_path / "run", "--cache-dir", cache.parent)
    assert "prepared" not in record["notes"]
    assert record["generator"]["decoder"] == "vae"
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert events.count("not used; run prepare again") == 2


def test_real_images_and_unknown_models_are_refused_in_one_line(
    tmp_path: Path, run_cli: CliRunner
) -> None:
    code, _, errors = run_cli("prepare", "--model", f"images:{tmp_path}")
    assert code == 2
    assert "real images need no preparation" in errors
    code, _, errors = run_cli("prepare", "--model", str(tmp_path / "none"))
    assert code == 1
    assert "--model takes" in errors
