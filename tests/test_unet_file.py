"""A UNet file on a base: the same pictures as the model card's own code makes with these files."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    EulerDiscreteScheduler,
    LCMScheduler,
    UNet2DConditionModel,
)
from hub_cache import FakeHub, add_snapshot
from pipelines import IMAGE_SIZE, PROMPTS, run_pipeline, small_pipeline, small_unet
from safetensors.torch import load_file, save_file
from test_consistency_step import SDXL_BASE_SCHEDULE

from challenge.errors import UsageError, WeightsError
from challenge.generators import hub
from challenge.generators.loading import load_generator
from challenge.generators.one_step_unets import ONE_STEP_UNETS, SDXL_BASE
from challenge.generators.pipelines import load_plain_pipeline
from challenge.generators.weights import fetch_weights, find_weights
from challenge.settings import ModelOptions

SEEDS = [1, 2, 3, 4, 5]
CPU = torch.device("cpu")
BASE, UNET, OTHER = "a" * 40, "b" * 40, "c" * 40


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with SDXL's base in small, without its UNet's weights."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def write_base(folder: Path) -> None:
    """The base as it is downloaded: half precision, with tokenizers, configs and all."""
    pipe = small_pipeline(EulerDiscreteScheduler.from_config(SDXL_BASE_SCHEDULE))
    pipe.to(torch.float16).save_pretrained(folder, variant="fp16")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    write_base(folder)
    return folder


@pytest.fixture
def base_in_cache(base: Path, cache: Path) -> Path:
    return shutil.copytree(
        base,
        add_snapshot(cache, SDXL_BASE, BASE),
        ignore=lambda folder, names: [
            name for name in names if Path(folder).name == "unet" and ".fp16" in name
        ],
        dirs_exist_ok=True,
    )


def other_unet() -> UNet2DConditionModel:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(9)
        return small_unet()


def write_unet(path: Path) -> Path:
    """A UNet's tensors by diffusers' names, as SDXL-Lightning and DMD2 give theirs away."""
    tensors = {name: tensor.half() for name, tensor in other_unet().state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".bin":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    return path


def as_on_the_model_card(base: Path, unet_file: Path, model: str) -> tuple[Any, list[int] | None]:
    """The pipeline by the lines of code on the card of ``model``, and its ``timesteps``."""
    unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(base / "unet"))
    if unet_file.suffix == ".bin":
        unet.load_state_dict(torch.load(unet_file, weights_only=True))
    else:
        unet.load_state_dict(load_file(unet_file))
    pipe = DiffusionPipeline.from_pretrained(
        base, unet=unet, dtype=torch.float32, variant="fp16", add_watermarker=False
    )
    pipe.set_progress_bar_config(disable=True)
    if model == "sdxl-lightning":
        pipe.scheduler = EulerDiscreteScheduler.from_config(
            pipe.scheduler.config, timestep_spacing="trailing", prediction_type="sample"
        )
        return pipe, None
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    return pipe, {"hyper-sdxl": [800], "dmd2": [399]}[model]


@pytest.mark.parametrize("model", ONE_STEP_UNETS)
def test_each_name_makes_the_pictures_of_its_model_card(
    model: str, base: Path, base_in_cache: Path, cache: Path
) -> None:
    known = ONE_STEP_UNETS[model]
    file = write_unet(add_snapshot(cache, known.repository, UNET) / known.file)
    pipe, timesteps = as_on_the_model_card(base, file, model)

    generator = load_generator(model, device=CPU, dtype=torch.float32)
    generator.encode_prompts(PROMPTS)
    pictures = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)

    assert torch.equal(pictures, run_pipeline(pipe, PROMPTS, SEEDS, timesteps=timesteps))
    plain = load_plain_pipeline(model, device=CPU, dtype=torch.float32)
    assert torch.equal(pictures, run_pipeline(plain, PROMPTS, SEEDS, timesteps=timesteps))
    description = generator.description
    assert description.source == f"{known.repository}/{known.file} on {SDXL_BASE}"
    assert description.revision == UNET
    assert description.commits == {SDXL_BASE: BASE, known.repository: UNET}
    assert description.timestep == (known.timestep or 999)
    assert description.prediction_type == known.prediction_type
    assert description.note is None


def test_a_file_of_ones_own_on_a_folder_is_taken_with_the_step_that_is_given(
    base: Path, tmp_path: Path
) -> None:
    file = write_unet(tmp_path / "mine.safetensors")
    pipe, timesteps = as_on_the_model_card(base, file, "dmd2")
    options = ModelOptions(unet=str(file), timestep=399)
    generator = load_generator(str(base), device=CPU, dtype=torch.float32, options=options)
    generator.encode_prompts(PROMPTS)
    pictures = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)
    assert torch.equal(pictures, run_pipeline(pipe, PROMPTS, SEEDS, timesteps=timesteps))
    assert generator.description.source == f"{file} on {base}"
    assert generator.description.revision is None


def test_two_steps_of_a_unet_file_are_those_of_the_euler_scheduler(
    base: Path, tmp_path: Path
) -> None:
    file = write_unet(tmp_path / "two_steps.safetensors")
    pipe, _ = as_on_the_model_card(base, file, "sdxl-lightning")
    pipe.scheduler = EulerDiscreteScheduler.from_config(
        pipe.scheduler.config, prediction_type="epsilon"
    )
    generator = load_generator(
        str(base), device=CPU, dtype=torch.float32, options=ModelOptions(unet=str(file))
    )
    generator.num_inference_steps = 2
    generator.encode_prompts(PROMPTS)
    pictures = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)
    assert torch.equal(pictures, run_pipeline(pipe, PROMPTS, SEEDS, steps=2))


def test_the_unet_is_in_the_runs_dtype_whatever_the_files(base: Path, tmp_path: Path) -> None:
    options = ModelOptions(unet=str(write_unet(tmp_path / "unet.bin")), timestep=399)
    generator = load_generator(str(base), device=CPU, dtype=torch.bfloat16, options=options)
    assert {parameter.dtype for parameter in generator.unet.parameters()} == {torch.bfloat16}
    assert generator.description.dtype == "bfloat16"


def test_whatever_changes_the_pictures_changes_the_fingerprint(base: Path, tmp_path: Path) -> None:
    first, second = write_unet(tmp_path / "a.bin"), write_unet(tmp_path / "b.bin")
    choices = [
        ModelOptions(),
        ModelOptions(timestep=399),
        ModelOptions(timestep=800),
        ModelOptions(prediction_type="sample"),
        ModelOptions(timestep=399, prediction_type="sample"),
        ModelOptions(unet=str(first)),
        ModelOptions(unet=str(first), timestep=399),
        ModelOptions(unet=str(second), timestep=399),
    ]
    prints = [find_weights(str(base), options).fingerprint for options in choices]
    assert len(set(prints)) == len(choices)
    assert prints == [find_weights(str(base), options).fingerprint for options in choices]


def test_files_to_read_are_the_unets_and_not_the_bases_own(base: Path, tmp_path: Path) -> None:
    file = write_unet(tmp_path / "unet.bin")
    weights = find_weights(str(base), ModelOptions(unet=str(file)))
    assert weights.files[0] == file
    assert sorted(path.parent.name for path in weights.files[1:]) == [
        "text_encoder",
        "text_encoder_2",
        "vae",
    ]


def test_a_unet_counts_as_what_it_takes_once_loaded_whatever_the_files_dtype(
    base: Path, tmp_path: Path
) -> None:
    values = sum(tensor.numel() for tensor in other_unet().state_dict().values())
    half = write_unet(tmp_path / "half.safetensors")
    save_file(other_unet().state_dict(), tmp_path / "full.safetensors")
    for file in (half, tmp_path / "full.safetensors", write_unet(tmp_path / "half.bin")):
        weights = find_weights(str(base), ModelOptions(unet=str(file)))
        others = sum(path.stat().st_size for path in weights.files[1:])
        assert weights.loaded_bytes("float16") - others == pytest.approx(2 * values, rel=0.2)
        assert weights.loaded_bytes("float32") - 2 * others == pytest.approx(4 * values, rel=0.2)


def test_a_base_in_float32_takes_as_much_as_one_in_half_precision_once_loaded(
    base: Path, tmp_path: Path
) -> None:
    small_pipeline().save_pretrained(tmp_path)
    halves, wholes = find_weights(str(base)), find_weights(str(tmp_path))
    for dtype in ("float16", "float32"):
        expected = pytest.approx(halves.loaded_bytes(dtype), rel=0.1)
        assert wholes.loaded_bytes(dtype) == expected


class _Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('code of a file was run')",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("unet.bin", b"not a zip", r"unet\.bin is cut short or not written by torch\.save"),
        ("unet.safetensors", b"cut", r"unet\.safetensors is cut short"),
        ("unet.bin", _Evil(), r"unet\.bin holds no tensors by name"),
        ("unet.bin", {"conv_in.weight": 1}, r"unet\.bin holds no tensors by name"),
        ("unet.bin", [1, 2], r"unet\.bin holds no tensors by name"),
        (
            "unet.bin",
            {"conv_in.weight": torch.zeros(3)},
            r"unet\.bin is not of this base: .* is \[3\], not",
        ),
        ("unet.bin", {"other": torch.zeros(3)}, r"has other, which .*config\.json has not"),
        ("unet.bin", {}, r"unet\.bin lacks \d+ of the model's tensors, such as add_embedding"),
    ],
)
def test_a_file_that_is_no_unet_is_told_in_one_line(
    name: str, content: object, message: str, base: Path, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = content if isinstance(content, bytes) else buffer.getvalue()
    (tmp_path / name).write_bytes(data)
    options = ModelOptions(unet=str(tmp_path / name))
    with pytest.raises(WeightsError, match=message) as caught:
        load_generator(str(base), device=CPU, dtype=torch.float32, options=options).unet  # noqa: B018
    assert "\n" not in str(caught.value)


def test_a_file_in_another_layout_is_told(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "comfyui.safetensors"
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match=r"no UNet with diffusers' names .*model\.diffusion"):
        find_weights(str(base), ModelOptions(unet=str(file)))


def test_options_that_a_model_has_no_use_for_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--revision is of a hub repository, and .* is none"):
        find_weights(str(base), ModelOptions(revision="main"))
    with pytest.raises(WeightsError, match=r"there is no .*none\.bin; --unet takes"):
        find_weights(str(base), ModelOptions(unet=str(tmp_path / "none.bin")))


@pytest.mark.parametrize("model", ONE_STEP_UNETS)
def test_missing_files_are_told_with_the_command_that_gets_them(
    model: str, base_in_cache: Path, cache: Path
) -> None:
    known = ONE_STEP_UNETS[model]
    with pytest.raises(WeightsError) as caught:
        find_weights(model)
    assert known.repository in str(caught.value)
    assert f"`python run_challenge.py prepare --model {model}`" in str(caught.value)
    shutil.rmtree(cache)
    with pytest.raises(WeightsError, match=rf"{SDXL_BASE} is neither .*prepare --model {model}`"):
        find_weights(model)


def test_prepare_downloads_what_is_needed_and_no_more(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = ONE_STEP_UNETS["dmd2"]
    unet_at = hub.KNOWN_COMMITS[known.repository]
    base_at = hub.KNOWN_COMMITS[SDXL_BASE]
    there = FakeHub(
        cache,
        {
            SDXL_BASE: {base_at: (base_at, write_base)},
            known.repository: {
                unet_at: (unet_at, lambda folder: write_unet(folder / known.file)),
                "v2": (OTHER, lambda folder: write_unet(folder / known.file)),
            },
        },
    )
    monkeypatch.setattr(hub, "snapshot_download", there.download)
    told: list[str] = []

    weights = fetch_weights("dmd2", told.append)

    assert weights.commits == {SDXL_BASE: base_at, known.repository: unet_at}
    assert there.asked == [(SDXL_BASE, base_at), (known.repository, unet_at)]
    assert not list((weights.path / "unet").glob("*.safetensors"))
    assert json.loads((weights.path / "unet" / "config.json").read_text())
    there.asked.clear()
    assert fetch_weights("dmd2", told.append) == weights
    assert there.asked == []  # all of it is here

    moved = fetch_weights("dmd2", told.append, ModelOptions(revision="v2"))
    assert moved.unet_commit == OTHER
    assert moved.fingerprint != weights.fingerprint
    assert find_weights("dmd2", recorded=moved.commits).unet_commit == OTHER
    assert find_weights("dmd2").unet_commit == unet_at
    with pytest.raises(WeightsError, match=r"not at v3, which --revision asks for"):
        find_weights("dmd2", ModelOptions(revision="v3"))
    options = ModelOptions(unet=f"{known.repository}/{known.file}@v2", timestep=399)
    assert find_weights(SDXL_BASE, options).unet_commit == OTHER
