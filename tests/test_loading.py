import json
import logging
import shutil
import socket
from logging.handlers import BufferingHandler
from pathlib import Path

import diffusers.utils.logging
import huggingface_hub.constants
import pytest
import torch
import transformers.utils.logging
from diffusers import (
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
)
from original_layout import original_tensors, write_single_file
from pipelines import (
    IMAGE_SIZE,
    PROMPTS,
    TURBO_SCHEDULE,
    run_pipeline,
    small_pipeline,
    small_sd_pipeline,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from challenge.errors import WeightsError
from challenge.generators.loading import load_generator
from challenge.generators.pipelines import load_plain_pipeline
from challenge.generators.sdxl_turbo import OneStepGenerator

SEEDS = [1, 2, 3, 4, 5]
LIBRARY_LOGS = (diffusers.utils.logging, transformers.utils.logging)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no way to the net."""

    def refuse(*address: object) -> None:
        raise AssertionError(f"a connection was asked for: {address}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionXLPipeline:
    return small_pipeline()


@pytest.fixture(scope="module")
def saved(pipe: StableDiffusionXLPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    pipe.save_pretrained(path)
    return path


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """The small pipeline, saved, to be damaged."""
    return shutil.copytree(saved, tmp_path / "model")


def load(model: str | Path, dtype: torch.dtype = torch.float32) -> OneStepGenerator:
    """The generator, with each of its parts asked for."""
    generator = load_generator(str(model), device=torch.device("cpu"), dtype=dtype)
    generator.encode_prompts(["a test"])
    assert generator.vae_decoder.name == "vae"
    assert generator.unet is not None
    return generator


def pictures(generator: OneStepGenerator) -> Tensor:
    generator.encode_prompts(PROMPTS)
    return generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)


def drop_tensors(path: Path, part: str) -> None:
    tensors = load_file(path)
    kept = {name: tensor for name, tensor in tensors.items() if part not in name}
    assert len(kept) < len(tensors)
    save_file(kept, path, metadata={"format": "pt"})


def test_a_folder_makes_the_pictures_of_the_pipeline_saved_in_it(
    folder: Path, pipe: StableDiffusionXLPipeline
) -> None:
    generator = load(folder)
    assert torch.equal(pictures(generator), run_pipeline(pipe, PROMPTS, SEEDS))
    assert generator.description.source == str(folder)
    assert generator.description.dtype == "float32"
    assert generator.description.note is None


def test_the_plain_pipeline_is_left_as_diffusers_loads_it(
    folder: Path, pipe: StableDiffusionXLPipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = load_plain_pipeline(str(folder), device=torch.device("cpu"), dtype=torch.float32)
    assert torch.equal(run_pipeline(plain, PROMPTS, SEEDS), run_pipeline(pipe, PROMPTS, SEEDS))
    half = load_plain_pipeline(str(folder), device=torch.device("cpu"), dtype=torch.float16)
    assert {half.unet.dtype, half.vae.dtype, half.text_encoder.dtype} == {torch.float16}
    assert capfd.readouterr() == ("", "")


def test_fp16_files_are_preferred_and_enough(folder: Path) -> None:
    other = small_pipeline(seed=2).to(torch.float16)
    other.save_pretrained(folder, variant="fp16")
    preferred = pictures(load(folder))
    for weights in folder.glob("*/*.safetensors"):
        if ".fp16" not in weights.name:
            weights.unlink()  # as after a download of the fp16 files alone
    expected = run_pipeline(other.to(torch.float32), PROMPTS, SEEDS)
    assert torch.equal(preferred, expected)
    assert torch.equal(pictures(load(folder)), expected)


def test_weights_are_loaded_in_the_dtype_asked_for(folder: Path) -> None:
    generator = load(folder, torch.bfloat16)
    assert generator.description.dtype == "bfloat16"
    assert pictures(generator).isfinite().all()


def test_a_cached_model_is_loaded_with_its_commit(
    folder: Path, hub_cache: Path, pipe: StableDiffusionXLPipeline
) -> None:
    repository = hub_cache / "models--stabilityai--sdxl-turbo"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)

    generator = load("sdxl-turbo")

    assert torch.equal(pictures(generator), run_pipeline(pipe, PROMPTS, SEEDS))
    assert generator.description.model == "sdxl-turbo"
    assert generator.description.source == "stabilityai/sdxl-turbo"
    assert generator.description.revision == COMMIT


def test_sd_turbo_is_found_in_the_hub_cache_by_its_name(hub_cache: Path) -> None:
    pipe, repository = small_sd_pipeline(), hub_cache / "models--stabilityai--sd-turbo"
    pipe.save_pretrained(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)

    generator = load("sd-turbo")

    assert torch.equal(pictures(generator), run_pipeline(pipe, PROMPTS, SEEDS))
    assert generator.description.source == "stabilityai/sd-turbo"
    plain = load_plain_pipeline("sd-turbo", device=torch.device("cpu"), dtype=torch.float32)
    assert torch.equal(run_pipeline(plain, PROMPTS, SEEDS), run_pipeline(pipe, PROMPTS, SEEDS))


def test_a_part_that_is_not_asked_for_is_not_read(folder: Path) -> None:
    shutil.rmtree(folder / "text_encoder_2")
    shutil.copytree(folder / "text_encoder", folder / "text_encoder_2")  # not what belongs there
    generator = load_generator(str(folder), device=torch.device("cpu"), dtype=torch.float32)
    assert generator.image_size(16) == IMAGE_SIZE
    with pytest.raises(WeightsError, match=r"text_encoder_2 lacks|cannot be loaded"):
        generator.encode_prompts(["a test"])


def test_a_single_file_makes_the_pictures_of_the_folder(
    folder: Path, pipe: StableDiffusionXLPipeline
) -> None:
    file = folder / "turbo.safetensors"
    write_single_file(pipe, file)
    expected = pictures(load(folder))
    for weights in folder.glob("*/*.safetensors"):
        weights.unlink()  # only the configs and tokenizers are left beside the file

    generator = load(file)

    assert torch.equal(pictures(generator), expected)
    assert generator.description.source == str(file)


@pytest.mark.parametrize(
    ("network", "part"),
    [
        ("unet", "mid_block"),
        ("vae", "decoder.conv_out"),
        ("text_encoder", "layers.1.mlp.fc1"),
        ("text_encoder_2", "text_projection"),
    ],
)
def test_tensors_that_are_missing_are_not_made_up(folder: Path, network: str, part: str) -> None:
    (file,) = (folder / network).glob("*.safetensors")
    drop_tensors(file, part)
    with pytest.raises(WeightsError, match=rf"{network} lacks \d+ of .*{part}.*; get it again"):
        load(folder)


@pytest.mark.parametrize(
    "part",
    [
        "diffusion_model.middle_block.0",
        "first_stage_model.decoder.mid.block_1",
        "embedders.1.model.ln_final",
        "embedders.0.transformer.text_model.final_layer_norm",
    ],
)
def test_tensors_that_a_single_file_lacks_are_not_made_up(folder: Path, part: str) -> None:
    tensors = original_tensors(small_pipeline())
    kept = {name: t.contiguous() for name, t in tensors.items() if part not in name}
    save_file(kept, folder / "turbo.safetensors")
    with pytest.raises(
        WeightsError, match=r"turbo\.safetensors (lacks|cannot be loaded)"
    ) as caught:
        load(folder / "turbo.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("unet/config.json", "block_out_channels", [32, 32]),
        ("vae/config.json", "latent_channels", 8),
        ("text_encoder/config.json", "hidden_size", 32),
        ("text_encoder_2/config.json", "num_hidden_layers", "two"),
        ("unet/config.json", "down_block_types", ["NoSuchBlock2D", "DownBlock2D"]),
        ("scheduler/scheduler_config.json", "beta_schedule", "none such"),
    ],
)
def test_configs_that_do_not_fit_are_told_in_one_line(
    folder: Path, file: str, key: str, value: object
) -> None:
    config = json.loads((folder / file).read_text())
    assert key in config
    (folder / file).write_text(json.dumps({**config, key: value}))
    with pytest.raises(WeightsError, match=r"cannot be loaded as an SDXL pipeline: .*") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "file",
    [
        "unet/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
    ],
)
def test_a_config_that_is_missing_is_told_in_one_line(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(WeightsError, match=r"cannot be loaded as an SDXL pipeline: ") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_noise_scheduler_without_a_single_step_is_refused(tmp_path: Path) -> None:
    for number, (noise_scheduler, message) in enumerate(
        [
            (DDIMScheduler(), "DDIMScheduler, which this program cannot run"),
            (EulerAncestralDiscreteScheduler(prediction_type="sample"), "prediction_type 'sample'"),
        ]
    ):
        small_pipeline(noise_scheduler).save_pretrained(tmp_path / str(number))
        with pytest.raises(WeightsError, match=message):
            load(tmp_path / str(number))


def test_a_step_that_does_not_start_from_noise_is_told(tmp_path: Path) -> None:
    schedule = {**TURBO_SCHEDULE, "timestep_spacing": "leading"}
    small_pipeline(EulerDiscreteScheduler(**schedule)).save_pretrained(tmp_path)
    note = load(tmp_path).description.note
    assert note is not None
    assert "timestep_spacing of 'leading'" in note


def test_loading_prints_nothing_and_leaves_the_libraries_as_they_were(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = [BufferingHandler(capacity=1000), BufferingHandler(capacity=1000)]
    for log, handler in zip(LIBRARY_LOGS, handlers, strict=True):
        monkeypatch.setattr(logging.getLogger(log.__name__.partition(".")[0]), "level", log.INFO)
        log.add_handler(handler)
    try:
        load(folder, torch.float16)
        load("tiny")
    finally:
        for log, handler in zip(LIBRARY_LOGS, handlers, strict=True):
            log.remove_handler(handler)
    assert [record for handler in handlers for record in handler.buffer] == []
    assert capfd.readouterr() == ("", "")
    for log in LIBRARY_LOGS:
        assert log.get_verbosity() == log.INFO
        assert log.is_progress_bar_enabled()
