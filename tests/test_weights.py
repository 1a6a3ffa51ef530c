import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from safetensors.numpy import save_file

from challenge.errors import WeightsError
from challenge.generators.model_files import NETWORKS, SINGLE_FILE_PARTS
from challenge.generators.weights import find_weights

COMMIT = "71153311d3dbb46851df1931d3ca6e939de83304"
INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
}


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache: a real one on this machine must not count."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def write_configs(folder: Path, **changes: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps({**INDEX, **changes}))
    for name in ("tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer_2/tokenizer.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def write_tensors(path: Path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.zeros(100, np.float32) for name in names}, path)


def write_folder(folder: Path, suffix: str = ".safetensors") -> Path:
    """A pipeline folder with one tensor for each network."""
    write_configs(folder)
    for name in NETWORKS:
        write_tensors(folder / name / f"model{suffix}", ["weight"])
    return folder


def write_snapshot(hub_cache: Path, hub_id: str) -> Path:
    """The layout of a download: refs/main names the commit, snapshots/ holds its files."""
    repository = hub_cache / f"models--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


def test_a_wrong_model_is_told_without_waiting_for_torch() -> None:
    code = (
        "import sys, challenge.generators.weights\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_pipeline_folder_is_its_own_config_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model")
    weights = find_weights(str(folder))
    assert (weights.path, weights.config_dir, weights.source) == (folder, folder, str(folder))
    assert weights.revision is None
    assert weights.variant is None
    assert not weights.is_single_file


def test_fp16_files_are_the_ones_to_load_and_to_check(tmp_path: Path) -> None:
    folder = write_folder(write_folder(tmp_path / "model"), suffix=".fp16.safetensors")
    assert find_weights(str(folder)).variant == "fp16"
    (folder / "unet" / "model.safetensors").write_bytes(b"never read")
    find_weights(str(folder))
    (folder / "unet" / "model.fp16.safetensors").write_bytes(b"cut")
    with pytest.raises(WeightsError, match=r"model\.fp16\.safetensors is cut short"):
        find_weights(str(folder))


@pytest.mark.parametrize("model", ["sdxl-turbo", "stabilityai/sdxl-turbo"])
def test_sdxl_turbo_is_found_in_the_hub_cache_with_its_commit(hub_cache: Path, model: str) -> None:
    snapshot = write_snapshot(hub_cache, "stabilityai/sdxl-turbo")
    write_folder(snapshot, suffix=".fp16.safetensors")
    weights = find_weights(model)
    assert weights.path == snapshot
    assert (weights.source, weights.revision) == ("stabilityai/sdxl-turbo", COMMIT)


def test_a_snapshot_of_which_files_were_left_out_is_good_enough(hub_cache: Path) -> None:
    snapshot = write_folder(write_snapshot(hub_cache, "org/name"))
    files = [str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file()]
    listing = {name: {"size": 1, "blob_id": "0"} for name in [*files, "left_out.onnx"]}
    trees = hub_cache / "models--org--name" / "trees"
    trees.mkdir()
    tree = {"format_version": 1, "files": listing}
    (trees / f"{COMMIT}.json").write_text(json.dumps(tree))
    assert find_weights("org/name").revision == COMMIT


def test_without_sdxl_turbo_the_user_is_told_how_to_get_it(hub_cache: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        find_weights("sdxl-turbo")
    assert str(caught.value) == (
        f"stabilityai/sdxl-turbo is neither a folder here nor in the hub cache {hub_cache}; get it "
        "with `python run_challenge.py prepare --model sdxl-turbo`, or pass --model DIRECTORY; "
        "--model tiny needs no weights"
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "weights/sdxl",
            r"weights/sdxl is neither a folder here nor in .*prepare --model weights/sdxl`",
        ),
        ("/no/such/folder", r"there is no /no/such/folder; --model takes .* tiny"),
        ("sdxl_turbo", r"there is no sdxl_turbo; --model takes sdxl-turbo, "),
        ("org/na--me", r"there is no org/na--me, and as a hub id it is wrong: .*--"),
    ],
)
def test_a_model_that_is_nowhere_is_told_in_one_line(model: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        find_weights(model)
    assert "\n" not in str(caught.value)


def test_a_folder_without_model_index_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no SDXL pipeline in .*model_index\.json is missing"):
        find_weights(str(tmp_path))


@pytest.mark.parametrize("text", ["{", '"\udcff"', ""])
def test_a_model_index_that_is_not_json_is_told(tmp_path: Path, text: str) -> None:
    path = write_folder(tmp_path) / "model_index.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(WeightsError, match=r"model_index\.json is not JSON"):
        find_weights(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"_class_name": "FluxPipeline"},
            r"_class_name is 'FluxPipeline', ex",
        ),
        ({"_class_name": None}, r"_class_name is None, expected 'StableDiffusionXLPipeline'"),
        (
            {"vae": ["diffusers", "AutoencoderTiny"]},
            r"vae is AutoencoderTiny, expected AutoencoderKL",
        ),
        ({"text_encoder": [None, None]}, r"text_encoder is None, expected CLIPTextModel"),
        ({"tokenizer_2": [None, None]}, r"tokenizer_2 is None, expected one; pass a complete"),
    ],
)
def test_another_kind_of_pipeline_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    write_configs(write_folder(tmp_path), **changes)
    with pytest.raises(WeightsError, match=message):
        find_weights(str(tmp_path))


def test_a_list_for_a_model_index_is_refused(tmp_path: Path) -> None:
    (write_folder(tmp_path) / "model_index.json").write_text("[]")
    with pytest.raises(WeightsError, match=r"_class_name is None"):
        find_weights(str(tmp_path))


@pytest.mark.parametrize("network", NETWORKS)
def test_missing_and_truncated_weights_are_told_by_their_path(tmp_path: Path, network: str) -> None:
    file = write_folder(tmp_path) / network / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=rf"{network}/model\.safetensors is cut short"):
        find_weights(str(tmp_path))
    file.unlink()
    with pytest.raises(WeightsError, match=rf"no \.safetensors file in .*{network}; get"):
        find_weights(str(tmp_path))


@pytest.mark.parametrize(
    "file", ["tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer_2/tokenizer.json"]
)
def test_a_tokenizer_without_its_vocabulary_is_refused(tmp_path: Path, file: str) -> None:
    (write_folder(tmp_path) / file).unlink()
    with pytest.raises(WeightsError, match=r"no (vocab\.json|merges\.txt) in .*tokenizer"):
        find_weights(str(tmp_path))


def test_a_link_to_a_blob_that_is_gone_is_told(tmp_path: Path) -> None:
    file = write_folder(tmp_path) / "unet" / "model.safetensors"
    file.unlink()
    file.symlink_to(tmp_path / "gone")
    with pytest.raises(WeightsError, match=r"unet/model\.safetensors is cut short or no "):
        find_weights(str(tmp_path))


def test_a_single_file_takes_the_configs_beside_it_or_those_of_the_cache(
    tmp_path: Path, hub_cache: Path
) -> None:
    file = tmp_path / "models" / "turbo.safetensors"
    write_tensors(file, [*SINGLE_FILE_PARTS.values()])
    with pytest.raises(WeightsError, match=r"weights only; get .*prepare --model sdxl-turbo`"):
        find_weights(str(file))

    snapshot = write_snapshot(hub_cache, "stabilityai/sdxl-turbo")
    write_configs(snapshot)
    weights = find_weights(str(file))
    assert (weights.path, weights.config_dir, weights.source) == (file, snapshot, str(file))
    assert weights.is_single_file
    assert weights.revision is None

    write_configs(file.parent)
    assert find_weights(str(file)).config_dir == file.parent


def test_a_single_file_beside_another_kind_of_pipeline_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "turbo.safetensors", [*SINGLE_FILE_PARTS.values()])
    write_configs(tmp_path, _class_name="FluxPipeline")
    with pytest.raises(WeightsError, match=r"_class_name is 'FluxPipeline'"):
        find_weights(str(tmp_path / "turbo.safetensors"))


@pytest.mark.parametrize("part", SINGLE_FILE_PARTS)
def test_a_single_file_without_a_part_of_sdxl_is_no_checkpoint(tmp_path: Path, part: str) -> None:
    names = [name for each, name in SINGLE_FILE_PARTS.items() if each != part]
    write_tensors(tmp_path / "other.safetensors", names)
    with pytest.raises(WeightsError, match=rf"is no SDXL checkpoint \(no {part} in it\)"):
        find_weights(str(tmp_path / "other.safetensors"))


def test_a_file_that_is_no_safetensors_file_is_told(tmp_path: Path) -> None:
    for name in ("model.safetensors", "model.ckpt"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(WeightsError, match=r"is cut short or no \.safetensors file"):
        find_weights(str(tmp_path / "model.safetensors"))
    with pytest.raises(WeightsError, match=r"model\.ckpt is no \.safetensors file; pass one"):
        find_weights(str(tmp_path / "model.ckpt"))
