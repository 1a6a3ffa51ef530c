"""What prepare keeps is what a run finds: through the command line, with the embedded model."""

import json
from functools import partialmethod
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from conftest import CliRunner
from hub_cache import FakeHub
from pipelines import small_pipeline, small_unet

from challenge import cli
from challenge.generators import decoder_fitting, hub, parts
from challenge.generators.one_step_unets import ONE_STEP_UNETS, SDXL_BASE
from challenge.generators.sdxl_turbo import OneStepGenerator

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


def test_compiled_blocks_are_kept_with_what_they_take_and_win(
    tmp_path: Path, run_cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cache = tmp_path / "model", tmp_path / "cache"
    small_pipeline().save_pretrained(model)
    by_eager = partialmethod(OneStepGenerator.compile_unet, backend="eager")
    monkeypatch.setattr(OneStepGenerator, "compile_unet", by_eager)
    flags = ("--model", model, "--dataset", "cifar100", "--cache-dir", cache, *PLAIN)
    code, output, errors = run_cli(
        "prepare", *flags, "--decoder", "vae", "--compile", "--batch-size", "2", "--json"
    )
    assert code == 0, errors
    kept = json.loads(output.splitlines()[-1])["prepared"][-1]
    assert kept["what"] == "compiled blocks for CIFAR-100, batch of 2"
    facts = json.loads(Path(kept["path"]).read_text())
    assert facts["owner"]["resolution"] == 32
    assert all(facts["facts"][name] > 0 for name in ("plain_batch_s", "compiled_batch_s"))


def test_a_compiler_that_fails_is_one_line(
    tmp_path: Path, run_cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no working compiler\nand more")

    monkeypatch.setattr(OneStepGenerator, "compile_unet", fail)
    flags = ("--decoder", "vae", "--batch-size", "2", "--cache-dir", tmp_path)
    code, _, errors = run_cli("prepare", *FLAGS, *flags, "--compile")
    assert code == 1
    assert "cannot be compiled: no working compiler; leave --compile away" in errors
    code, _, errors = run_cli("prepare", *FLAGS, *flags)
    assert code == 2
    assert "--batch-size is what --compile compiles for" in errors


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


FIRST, SECOND, BASE_AT = "1" * 40, "2" * 40, hub.KNOWN_COMMITS[SDXL_BASE]


def add_unet(folder: Path) -> None:
    file = folder / ONE_STEP_UNETS["dmd2"].file
    torch.save({name: t.half() for name, t in small_unet().state_dict().items()}, file)


def add_base(folder: Path) -> None:
    small_pipeline().to(torch.float16).save_pretrained(folder, variant="fp16")


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """DMD2's repository with two tags, and SDXL's base in small."""
    cache = tmp_path / "hub"
    unets = {"v1": (FIRST, add_unet), "v2": (SECOND, add_unet)}
    there = FakeHub(cache, {"tianweiy/DMD2": unets, SDXL_BASE: {BASE_AT: (BASE_AT, add_base)}})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(hub, "snapshot_download", there.download)
    monkeypatch.setattr(decoder_fitting, "GOOD_ENOUGH_DB", 0.0)  # its VAE has random weights
    return there


def test_a_run_takes_the_revision_that_prepare_recorded_and_mixes_no_stores(
    fake_hub: FakeHub, tmp_path: Path, run_cli: CliRunner
) -> None:
    flags = ("--model", "dmd2", "--dataset", "cifar100", "--cache-dir", tmp_path / "cache", *PLAIN)
    code, _, errors = run_cli("prepare", *flags, "--revision", "v1")
    assert code == 0, errors
    assert f"tianweiy/DMD2 at {FIRST}" in errors

    record = run(run_cli, tmp_path / "first", *flags)
    assert record["generator"]["commits"] == {SDXL_BASE: BASE_AT, "tianweiy/DMD2": FIRST}
    assert record["generator"]["revision"] == FIRST
    assert record["generator"]["timestep"] == 399
    assert record["generator"]["prediction_type"] == "epsilon"
    assert len(record["notes"]["prepared"]) == 2

    other_step = run(run_cli, tmp_path / "other", *flags, "--timestep", "500")
    assert other_step["generator"]["timestep"] == 500
    assert "prepared" not in other_step["notes"]

    code, _, errors = run_cli("generate", *flags, "--revision", "v2", "--out", tmp_path / "none")
    assert code == 1
    assert f"in the hub cache at {FIRST}, not at v2, which --revision asks for" in errors
    assert "prepare --model dmd2 --revision v2" in " ".join(errors.split())
    assert not (tmp_path / "none").exists()

    assert run_cli("prepare", *flags, "--revision", "v2", "--decoder", "vae")[0] == 0
    again = run(run_cli, tmp_path / "second", *flags)
    assert again["generator"]["revision"] == SECOND
    names = [Path(entry["path"]).name for entry in again["notes"]["prepared"]]
    assert [name.partition("-")[0] for name in names] == ["embeddings"]
