import shutil
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from challenge.errors import WeightsError
from challenge.generators.loading import load_generator
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.generators.tiny import (
    CHECKSUMS_FILE,
    TINY_MODEL_DIR,
    VOCABULARY_FILE,
    WEIGHTS_FILE,
    fill,
    load_tiny_pipeline,
    networks,
)
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.spec import CIFAR100

BOOK = load_prompt_book(CIFAR100, find_prompts_dir(None))
ORANGE, PLAIN, SEA = 53, 60, 71
PROMPTS = list(BOOK.all_prompts())


def load_tiny(prompts: list[str] = PROMPTS, dtype: torch.dtype = torch.float32) -> OneStepGenerator:
    generator = load_generator("tiny", device=torch.device("cpu"), dtype=dtype)
    generator.encode_prompts(prompts)
    return generator


@pytest.fixture
def copied_model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY_MODEL_DIR, tmp_path / "model"))


def test_it_is_loaded_in_under_three_seconds() -> None:
    start_s = time.perf_counter()
    load_tiny_pipeline()
    assert time.perf_counter() - start_s < 3


def test_what_is_shipped_has_at_most_16_megabytes() -> None:
    assert sum(path.stat().st_size for path in TINY_MODEL_DIR.iterdir()) <= 16e6


def test_the_checksums_are_those_that_sha256sum_finds() -> None:
    check = ["sha256sum", "--check", "--strict", CHECKSUMS_FILE]
    assert subprocess.run(check, cwd=TINY_MODEL_DIR, check=False).returncode == 0


def test_records_name_the_weights_by_their_checksum() -> None:
    description = load_tiny().description
    checksums = (TINY_MODEL_DIR / CHECKSUMS_FILE).read_text()
    assert description.revision is not None
    assert len(description.revision) == 12
    assert f"{description.revision}" in checksums.split(WEIGHTS_FILE)[0]
    assert description.note is not None
    assert "trained on the training images of CIFAR-100" in description.note
    assert (description.model, description.dtype, description.device) == ("tiny", "float32", "cpu")


@pytest.mark.parametrize("name", [WEIGHTS_FILE, VOCABULARY_FILE])
def test_a_damaged_file_is_refused_by_name(copied_model: Path, name: str) -> None:
    data = bytearray((copied_model / name).read_bytes())
    data[-2] ^= 1
    (copied_model / name).write_bytes(data)
    with pytest.raises(WeightsError, match=rf"{name} is damaged: its sha256 is .*; install"):
        load_tiny_pipeline(copied_model)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, VOCABULARY_FILE, CHECKSUMS_FILE])
def test_a_missing_file_is_refused_by_name(copied_model: Path, name: str) -> None:
    (copied_model / name).unlink()
    with pytest.raises(WeightsError, match=rf"{name} cannot be read \(No such file"):
        load_tiny_pipeline(copied_model)


@pytest.mark.parametrize("change", ["missing", "surplus", "of no network", "other shape"])
def test_weights_that_do_not_fit_the_networks_are_refused(tmp_path: Path, change: str) -> None:
    tensors = load_file(TINY_MODEL_DIR / WEIGHTS_FILE)
    name = "unet.conv_in.bias"
    if change == "missing":
        del tensors[name]
    elif change == "surplus":
        tensors["vae.more"] = torch.zeros(1)
    elif change == "of no network":
        tensors["more"] = torch.zeros(1)
    else:
        tensors[name] = torch.zeros(3)
    save_file(tensors, tmp_path / WEIGHTS_FILE)
    with pytest.raises(WeightsError, match=r"does not fit the embedded model|no network has"):
        fill(load_tiny_pipeline(), tmp_path / WEIGHTS_FILE)


def test_no_network_keeps_the_weights_that_it_was_built_with() -> None:
    first, second = (networks(load_tiny_pipeline()) for _ in range(2))
    for name, network in first.items():
        other = second[name].state_dict()
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, other[key]), f"{name}.{key}"


def test_loading_leaves_the_global_rng_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    load_tiny_pipeline()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_known_word_is_one_token_and_any_other_text_can_be_read() -> None:
    pipe = load_tiny_pipeline()
    for tokenizer in (pipe.tokenizer, pipe.tokenizer_2):
        assert len(tokenizer("a photo of a Dolphin").input_ids) == 1 + 5 + 1
        ids = tokenizer("Übergröße, 日本 & quixotic zyzzyva").input_ids
        assert tokenizer.eos_token_id not in ids[:-1]  # no unknown token, which is the same one
    assert pipe.tokenizer.pad_token == "<|endoftext|>"
    assert pipe.tokenizer_2.pad_token == "!"


@pytest.mark.parametrize("target_size", [32, 64])
def test_pictures_have_the_targets_size_and_are_neither_flat_nor_alike(target_size: int) -> None:
    generator = load_tiny()
    image_size = generator.image_size(target_size)
    images = generator.generate(PROMPTS[:30], range(30), image_size)

    assert images.shape == (30, 3, target_size, target_size)
    assert images.isfinite().all()
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std(dim=(2, 3)).min() > 0.02  # within each channel of each picture
    assert images.std(dim=0).mean() > 0.05  # between pictures
    assert len({(image * 255).byte().numpy().tobytes() for image in images}) == 30


def test_oranges_are_orange_plains_have_a_sky_and_the_sea_is_blue() -> None:
    generator = load_tiny()
    prompts = [PROMPTS[index] for index in (ORANGE, PLAIN, SEA) for _ in range(16)]
    images = generator.generate(prompts, range(48), 32)
    orange, plain, sea = torch.split(images, 16)

    red, green, blue = orange[:, :, 8:24, 8:24].mean(dim=(0, 2, 3)).tolist()
    assert red > green + 0.1
    assert green > blue + 0.1
    assert plain[:, 2, :8].mean() > plain[:, 2, -8:].mean() + 0.1  # bright above
    red, _, blue = sea.mean(dim=(0, 2, 3)).tolist()
    assert blue > red + 0.05


def test_pictures_of_one_prompt_differ_from_seed_to_seed() -> None:
    images = load_tiny().generate([PROMPTS[ORANGE]] * 16, range(16), 32)
    assert images.std(dim=0).mean() > 0.08


def test_the_prompt_and_the_seed_both_count() -> None:
    apple, same_apple, other_seed, other_prompt = load_tiny().generate(
        [PROMPTS[0], PROMPTS[0], PROMPTS[0], PROMPTS[3]], [1, 1, 2, 1], 32
    )
    assert (apple - same_apple).abs().max() <= 1 / 255
    assert (apple - other_seed).abs().max() > 10 / 255
    assert (apple - other_prompt).abs().max() > 10 / 255


def test_a_class_is_known_in_other_words_than_the_books() -> None:
    wordings = ["orange", "an amateur snapshot of a large orange on a table", PROMPTS[ORANGE]]
    images = load_tiny([*PROMPTS, *wordings]).generate(
        [wording for wording in wordings for _ in range(8)], range(24), 32
    )
    for pictures in torch.split(images, 8):
        red, _, blue = pictures[:, :, 8:24, 8:24].mean(dim=(0, 2, 3)).tolist()
        assert red > blue + 0.2


def test_a_prompts_picture_does_not_depend_on_the_other_prompts_encoded() -> None:
    few, many = load_tiny(PROMPTS[4:6]), load_tiny()
    pictures = [generator.generate(PROMPTS[4:6], [1, 2], 32) for generator in (few, many)]
    assert (pictures[0] - pictures[1]).abs().max() <= 1 / 255


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_runs_in_half_precision(dtype: torch.dtype) -> None:
    full, half = (
        load_tiny(dtype=each).generate(PROMPTS[:4], range(4), 32) for each in (torch.float32, dtype)
    )
    assert half.isfinite().all()
    assert (full - half).abs().mean() < 0.02
