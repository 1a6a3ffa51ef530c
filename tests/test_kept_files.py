import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from test_weights import write_folder

from challenge.generators.weights import Weights, find_weights
from challenge.kept_files import files_of_a_run
from challenge.settings import GenerateSettings


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return find_weights(str(write_folder(tmp_path / "model")))


def keep(folder: Path, name: str, weights: str, **owner: str) -> None:
    folder.mkdir(exist_ok=True)
    metadata = {"owner": json.dumps({"weights": weights, **owner})}
    save_file({"rows": np.zeros(1, np.float32)}, folder / f"{name}.safetensors", metadata=metadata)


def networks(weights: Weights, folder: Path | None, dataset: str = "cifar100") -> list[str]:
    settings = GenerateSettings(dataset=dataset)  # type: ignore[arg-type]  # one of the names
    return [file.parent.name for file in files_of_a_run(settings, weights, folder)]


def test_without_a_store_all_is_read_and_the_unet_first(weights: Weights, tmp_path: Path) -> None:
    everything = ["unet", "vae", "text_encoder", "text_encoder_2"]
    assert networks(weights, None) == everything
    assert networks(weights, tmp_path / "none") == everything


def test_what_is_kept_instead_of_a_network_spares_its_files(
    weights: Weights, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    keep(kept, "embeddings-1", weights.fingerprint, dataset="cifar100")
    assert networks(weights, kept) == ["unet", "vae"]
    assert networks(weights, kept, "all") == ["unet", "vae", "text_encoder", "text_encoder_2"]
    keep(kept, "decoder-1", weights.fingerprint)
    assert networks(weights, kept) == ["unet"]
    keep(kept, "embeddings-2", weights.fingerprint, dataset="tinyimagenet")
    assert networks(weights, kept, "all") == ["unet"]
    settings = GenerateSettings(dataset="cifar100", decoder="vae")
    assert len(files_of_a_run(settings, weights, kept)) == 2


def test_a_store_of_other_weights_or_a_damaged_one_spares_nothing(
    weights: Weights, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    keep(kept, "embeddings-1", "others", dataset="cifar100")
    keep(kept, "decoder-1", "others")
    (kept / "embeddings-2.safetensors").write_bytes(b"cut")
    assert len(networks(weights, kept)) == 4
