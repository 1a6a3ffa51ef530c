"""With what prepare keeps, a run needs the UNet alone: nothing else is read, hardly more imported.

What a run must not use is spoilt, with the headers and times that tell files apart left as they
were: tensors become NaN, vocabularies become rubbish. The set must be the same, byte for byte.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from conftest import CliRunner
from hub_cache import FakeHub
from pipelines import small_pipeline, small_unet
from safetensors import safe_open

from challenge.generators import decoder_fitting, hub, parts
from challenge.generators.one_step_unets import ONE_STEP_UNETS, SDXL_BASE

REPOSITORY = Path(__file__).parent.parent
FLAGS = ("--dataset", "cifar100", "--prompt-preset", "plain")
SHORT = ("--ipc", "1", "--augment", "none", "--limit-s", "100")
KINDS = ("folder", "hub snapshot", "unet on a base")
COMMIT = "1" * 40
MUST_NOT_BE_IMPORTED = (
    "diffusers.pipelines.stable_diffusion",
    "diffusers.pipelines.stable_diffusion_xl",
    "diffusers.models.autoencoders",
    "transformers.models.clip",
)


def save(folder: Path) -> None:
    small_pipeline().save_pretrained(folder)
    small_pipeline().to(torch.float16).save_pretrained(folder, variant="fp16")


def save_unet(folder: Path) -> None:
    torch.save(small_unet().half().state_dict(), folder / ONE_STEP_UNETS["dmd2"].file)


@pytest.fixture
def model(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Path]:
    """``--model``, and the folder of what a run with everything kept has no need of."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    repositories = {
        "org/name": {"main": (COMMIT, save)},
        SDXL_BASE: {"main": (COMMIT, save)},
        "tianweiy/DMD2": {"main": (COMMIT, save_unet)},
    }
    for known in (SDXL_BASE, "tianweiy/DMD2"):
        monkeypatch.delitem(hub.KNOWN_COMMITS, known)
    monkeypatch.setattr(hub, "snapshot_download", FakeHub(cache, repositories).download)
    monkeypatch.setattr(decoder_fitting, "GOOD_ENOUGH_DB", 0.0)  # its VAE has random weights
    kind = request.param
    if kind == "folder":
        save(tmp_path / "model")
        return str(tmp_path / "model"), tmp_path / "model"
    hub_id = "org/name" if kind == "hub snapshot" else SDXL_BASE
    snapshot = cache / f"models--{hub_id.replace('/', '--')}" / "snapshots" / COMMIT
    return ("org/name" if kind == "hub snapshot" else "dmd2"), snapshot


def spoil(folder: Path, spared: str | None) -> list[str]:
    """Spoil all but the network ``spared``; returns the names of what was spoilt."""
    spoilt = []
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".safetensors" and file.parent.name != spared:
            stat, data = file.stat(), bytearray(file.read_bytes())
            start = 8 + int.from_bytes(data[:8], "little")
            data[start:] = b"\xff" * (len(data) - start)  # NaN in every number format
            file.write_bytes(data)
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            with safe_open(file, framework="pt") as opened:
                assert opened.get_tensor(next(iter(opened.keys()))).isnan().all()
        elif file.name in ("vocab.json", "tokenizer.json", "merges.txt"):
            file.write_text("{")
        else:
            continue
        spoilt.append(str(file.relative_to(folder)))
    return spoilt


def generate(run_cli: CliRunner, out: Path, *flags: str | Path) -> dict[str, Any]:
    code, _, errors = run_cli("generate", *FLAGS, *SHORT, "--out", out, *flags, "--json")
    assert code == 0, errors
    record: dict[str, Any] = json.loads((out / "run.json").read_text())
    return record


@pytest.mark.parametrize("model", KINDS, indirect=True)
def test_nothing_but_the_unet_is_read(
    model: tuple[str, Path],
    tmp_path: Path,
    run_cli: CliRunner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, folder = model
    flags = ("--model", name, "--cache-dir", tmp_path / "cache")
    code, _, errors = run_cli("prepare", *FLAGS, *flags)
    assert code == 0, errors
    before = generate(run_cli, tmp_path / "before", *flags)
    spared = "unet" if name != "dmd2" else None
    assert len(spoil(folder, spared)) >= 5
    read: list[str] = []
    load_network = parts.load_network

    def noting(network: str, *arguments: Any) -> Any:
        read.append(network)
        return load_network(network, *arguments)

    monkeypatch.setattr(parts, "load_network", noting)

    after = generate(run_cli, tmp_path / "after", *flags)

    assert read == ["unet"]
    sha256s = [record["datasets"]["cifar100"]["sha256"] for record in (before, after)]
    assert sha256s[0] == sha256s[1]
    assert len(after["notes"]["prepared"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("model", ["folder"], indirect=True)
def test_no_vae_no_text_encoder_and_no_pipeline_is_imported(
    model: tuple[str, Path], tmp_path: Path, run_cli: CliRunner
) -> None:
    name, _ = model
    flags = ["--model", name, "--cache-dir", str(tmp_path / "cache")]
    assert run_cli("prepare", *FLAGS, *flags)[0] == 0
    line = ["generate", *FLAGS, *SHORT, *flags, "--out", str(tmp_path / "run")]
    code = (
        "import json, sys\n"
        "from challenge import cli\n"
        f"code = cli.main({line!r})\n"
        "print(json.dumps([code, sorted(sys.modules)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    exit_code, modules = json.loads(done.stdout.splitlines()[-1])
    assert exit_code == 0, done.stderr
    assert "diffusers.models.unets.unet_2d_condition" in modules
    assert [each for each in modules if each in MUST_NOT_BE_IMPORTED] == []
