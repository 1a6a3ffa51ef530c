import time

import pytest
import torch
from torch import Tensor

from challenge.generators.loading import load_generator
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.generators.tiny import build_tiny_pipeline, train_tokenizer

NOUNS = [
    "apple",
    "beaver",
    "castle",
    "dolphin",
    "forest",
    "goldfish",
    "house",
    "iguana",
    "oak",
    "ox",
]
TEXTS = [f"a photo of a {noun}{suffix}" for noun in NOUNS for suffix in ("", " tree", " in snow")]


def load_tiny(texts: list[str] = TEXTS, dtype: torch.dtype = torch.float32) -> OneStepGenerator:
    generator = load_generator("tiny", device=torch.device("cpu"), dtype=dtype, vocabulary=texts)
    generator.encode_prompts(texts)
    return generator


def states(texts: list[str]) -> dict[str, Tensor]:
    pipe = build_tiny_pipeline(texts)
    networks = {
        "vae": pipe.vae,
        "unet": pipe.unet,
        "1": pipe.text_encoder,
        "2": pipe.text_encoder_2,
    }
    return {
        f"{part}.{name}": tensor
        for part, network in networks.items()
        for name, tensor in network.state_dict().items()
    }


def test_it_is_built_in_under_two_seconds() -> None:
    start_s = time.perf_counter()
    build_tiny_pipeline(TEXTS)
    assert time.perf_counter() - start_s < 2


def test_the_user_is_told_that_its_pictures_are_noise() -> None:
    description = load_tiny().description
    assert description.note is not None
    assert "its pictures are noise" in description.note
    assert (description.model, description.revision) == ("tiny", None)
    assert (description.dtype, description.device) == ("float32", "cpu")


def test_the_same_texts_give_the_same_tokens_in_any_order_and_each_time() -> None:
    expected = train_tokenizer(TEXTS)
    for _ in range(5):  # the trainer's hash tables are seeded anew each time
        assert train_tokenizer([*reversed(TEXTS), TEXTS[0]]) == expected


def test_a_word_of_the_prompts_is_one_token_and_any_other_text_can_be_read() -> None:
    pipe = build_tiny_pipeline(TEXTS)
    for tokenizer in (pipe.tokenizer, pipe.tokenizer_2):
        ids = tokenizer("a photo of a Dolphin").input_ids
        assert len(ids) == 1 + 5 + 1
        ids = tokenizer("Übergröße, 日本 & zebra").input_ids
        assert tokenizer.eos_token_id not in ids[:-1]  # no unknown token, which is the same one
    assert pipe.tokenizer.pad_token == "<|endoftext|>"
    assert pipe.tokenizer_2.pad_token == "!"


def test_the_weights_depend_on_neither_the_texts_nor_the_global_rng() -> None:
    torch.manual_seed(1)
    first = states(TEXTS)
    torch.manual_seed(2)
    rng_state = torch.get_rng_state()
    second = states(["something else"])
    assert torch.equal(torch.get_rng_state(), rng_state)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("target_size", [32, 64])
def test_pictures_have_the_targets_size_and_are_neither_flat_nor_alike(target_size: int) -> None:
    generator = load_tiny()
    image_size = generator.image_size(target_size)
    images = generator.generate(TEXTS, range(len(TEXTS)), image_size)

    assert images.shape == (30, 3, target_size, target_size)
    assert images.isfinite().all()
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std(dim=(2, 3)).min() > 0.05  # within each channel of each picture
    assert images.std(dim=0).mean() > 0.05  # between pictures
    assert len({(image * 255).byte().numpy().tobytes() for image in images}) == len(TEXTS)


def test_the_prompt_and_the_seed_both_count() -> None:
    generator = load_tiny()
    dog, same_dog, other_seed, other_prompt = generator.generate(
        [TEXTS[0], TEXTS[0], TEXTS[0], TEXTS[3]], [1, 1, 2, 1], 32
    )
    assert (dog - same_dog).abs().max() <= 1 / 255
    assert (dog - other_seed).abs().max() > 10 / 255
    assert (dog - other_prompt).abs().max() > 10 / 255


def test_a_prompts_picture_does_not_depend_on_the_other_prompts_encoded() -> None:
    few = load_generator("tiny", device=torch.device("cpu"), dtype=torch.float32, vocabulary=TEXTS)
    few.encode_prompts(TEXTS[4:6])
    pictures = [generator.generate(TEXTS[4:6], [1, 2], 32) for generator in (few, load_tiny())]
    assert (pictures[0] - pictures[1]).abs().max() <= 1 / 255


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_runs_in_half_precision(dtype: torch.dtype) -> None:
    full, half = (
        load_tiny(dtype=each).generate(TEXTS[:4], range(4), 32) for each in (torch.float32, dtype)
    )
    assert half.isfinite().all()
    assert (full - half).abs().mean() < 0.02
