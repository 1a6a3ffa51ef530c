"""What is in memory at a time while a run is made ready: never the text encoders with the UNet."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FakeClock
from fake_run import Run
from original_layout import write_single_file
from pipelines import small_pipeline
from torch import nn

from challenge.generators.embeddings_file import write_embeddings
from challenge.generators.loading import load_generator, open_generator
from challenge.generators.parts import FolderParts, Parts, PipelineParts
from challenge.prepared import embeddings_owner, prepared_file
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.run_parts import RunParts
from challenge.settings import GenerateSettings
from challenge.spec import CIFAR100
from challenge.warm_up import prepare

CPU = torch.device("cpu")
BOOK = load_prompt_book(CIFAR100, find_prompts_dir(None), "sorted", "plain", 1)
TEXT = ["text_encoder", "text_encoder_2"]


class Loaded:
    """The networks that were put on the device, in order, and which of them lived at that time."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self.together: list[set[str]] = []
        self.sizes: dict[str, int] = {}
        self._alive: dict[str, weakref.ref[nn.Module]] = {}
        for kind in (FolderParts, PipelineParts):
            patch.setattr(kind, "_network", self._noting(kind._network))

    def _noting(self, load: Any) -> Any:
        def noting(parts: Parts, name: str) -> nn.Module:
            network: nn.Module = load(parts, name)
            self.order.append(name)
            self._alive[name] = weakref.ref(network)
            self.sizes[name] = sum(tensor.nbytes for tensor in network.parameters())
            gc.collect()
            self.together.append({each for each, ref in self._alive.items() if ref() is not None})
            return network

        return noting

    @property
    def peak_bytes(self) -> int:
        return max(sum(self.sizes[name] for name in names) for names in self.together)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_pipeline().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def parts(tmp_path: Path, clock: FakeClock) -> RunParts:
    return Run(tmp_path / "run", clock).parts()


def make_ready(model: Path, parts: RunParts) -> None:
    settings = GenerateSettings(
        model=str(model), dataset="cifar100", prompt_preset="plain", prompts_per_class=1,
        decoder="vae", augment="none",
    )  # fmt: skip

    def load() -> Any:
        return open_generator(str(model), device=CPU, dtype=torch.float32, books=[BOOK], run_seed=0)

    prepare(settings, {CIFAR100: BOOK}, load, parts)


@pytest.mark.parametrize("single_file", [False, True])
def test_the_text_encoders_are_freed_before_the_unet_is_loaded_and_the_vae_comes_last(
    single_file: bool, folder: Path, parts: RunParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = folder
    if single_file:
        model = folder / "turbo.safetensors"
        write_single_file(small_pipeline(), model)
    loaded = Loaded(monkeypatch)
    make_ready(model, parts)
    assert loaded.order == [*TEXT, "unet", "vae"]
    assert loaded.together == [{"text_encoder"}, set(TEXT), {"unet"}, {"unet", "vae"}]
    sizes = loaded.sizes
    assert loaded.peak_bytes == max(
        sizes["text_encoder"] + sizes["text_encoder_2"], sizes["unet"] + sizes["vae"]
    )
    assert loaded.peak_bytes < sum(sizes.values())


def test_with_stored_embeddings_no_text_encoder_is_loaded(
    folder: Path, parts: RunParts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    generator = load_generator(str(folder), device=CPU, dtype=torch.float32)
    prompts = list(dict.fromkeys(BOOK.all_prompts()))
    owner = embeddings_owner(generator, "cifar100")
    path = prepared_file(tmp_path / "kept", "embeddings", owner)
    write_embeddings(path, prompts, owner, generator.encoded(prompts))
    loaded = Loaded(monkeypatch)
    make_ready(folder, replace(parts, prepared_dir=tmp_path / "kept"))
    assert loaded.order == ["unet", "vae"]


def test_a_part_of_a_single_file_goes_to_the_device_when_it_is_asked_for() -> None:
    pipe = small_pipeline()
    parts = PipelineParts(pipe, torch.device("meta"))
    assert parts.text_encoder.device.type == "meta"
    assert {pipe.unet.device.type, pipe.vae.device.type} == {"cpu"}
    assert parts.unet.device.type == "meta"
    assert parts.unet is parts.unet


def test_reading_the_unet_counts_as_loading(
    folder: Path, parts: RunParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    load: Any = FolderParts._network

    def slow(network_parts: Parts, name: str) -> nn.Module:
        if name == "unet":
            parts.clock.advance(7.0)  # type: ignore[attr-defined]  # the fake one
        network: nn.Module = load(network_parts, name)
        return network

    monkeypatch.setattr(FolderParts, "_network", slow)
    make_ready(folder, parts)
    assert parts.timer.totals_s()["load"] == 7.0
