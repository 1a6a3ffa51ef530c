from typing import Any
from unittest.mock import patch

import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from pipelines import (
    IMAGE_SIZE,
    PROMPTS,
    TURBO_SCHEDULE,
    one_step_generator,
    run_pipeline,
    small_pipeline,
    small_sd_pipeline,
)

from challenge.errors import PromptError, WeightsError
from challenge.generators import sdxl_turbo, text_encoders

SEEDS = [0, 1, 2**62 + 3, 4, 5]
LEVEL = 1 / 255

ANCESTRAL, EULER = EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
NOISE_SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sdxl-turbo": (ANCESTRAL, {}),
    "v_prediction": (ANCESTRAL, {"prediction_type": "v_prediction"}),
    "leading": (ANCESTRAL, {"timestep_spacing": "leading"}),
    "linspace": (ANCESTRAL, {"timestep_spacing": "linspace"}),
    "cosine betas": (ANCESTRAL, {"beta_schedule": "squaredcos_cap_v2"}),
    "zero terminal SNR": (ANCESTRAL, {"rescale_betas_zero_snr": True}),
    "euler": (EULER, {}),
    "euler v_prediction": (EULER, {"prediction_type": "v_prediction"}),
    "euler sample": (EULER, {"prediction_type": "sample"}),
    "euler leading": (EULER, {"timestep_spacing": "leading"}),
    "euler linear betas": (EULER, {"beta_schedule": "linear", "beta_end": 0.02}),
    "euler karras": (EULER, {"use_karras_sigmas": True}),
    "euler continuous": (
        EULER,
        {"timestep_type": "continuous", "prediction_type": "v_prediction"},
    ),
}


@pytest.mark.parametrize("name", NOISE_SCHEDULERS)
def test_latents_and_images_are_equal_to_the_pipelines(name: str) -> None:
    kind, changes = NOISE_SCHEDULERS[name]
    pipe = small_pipeline(kind(**{**TURBO_SCHEDULE, **changes}))
    generator = one_step_generator(pipe)

    latents = generator.denoise(PROMPTS, generator.draw_noise(SEEDS, IMAGE_SIZE))
    images = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)

    assert torch.equal(latents, run_pipeline(pipe, PROMPTS, SEEDS, output_type="latent"))
    assert torch.equal(images, run_pipeline(pipe, PROMPTS, SEEDS))
    assert images.std() > 0.05  # so there is something to be equal


def test_a_model_like_sd_turbo_is_equal_to_its_pipeline_too() -> None:
    pipe = small_sd_pipeline()
    generator = one_step_generator(pipe)

    latents = generator.denoise(PROMPTS, generator.draw_noise(SEEDS, IMAGE_SIZE))
    images = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)

    assert torch.equal(latents, run_pipeline(pipe, PROMPTS, SEEDS, output_type="latent"))
    assert torch.equal(images, run_pipeline(pipe, PROMPTS, SEEDS))
    generator.release_text_encoders()
    assert pipe.text_encoder is None
    assert torch.equal(generator.generate(PROMPTS, SEEDS, IMAGE_SIZE), images)


def test_another_image_size_is_equal_too() -> None:
    pipe = small_pipeline()
    images = one_step_generator(pipe).generate(PROMPTS, SEEDS, 48)
    assert images.shape == (5, 3, 48, 48)
    assert torch.equal(images, run_pipeline(pipe, PROMPTS, SEEDS, 48))


def test_a_vae_with_a_mean_and_deviation_for_each_channel_is_equal_too() -> None:
    mean, std = [0.5, -1.0, 0.25, 2.0], [1.5, 0.5, 1.0, 2.0]
    pipe = small_pipeline(latents_mean=mean, latents_std=std)
    images = one_step_generator(pipe).generate(PROMPTS, SEEDS, IMAGE_SIZE)
    assert torch.equal(images, run_pipeline(pipe, PROMPTS, SEEDS))
    plain = one_step_generator(small_pipeline()).generate(PROMPTS, SEEDS, IMAGE_SIZE)
    assert not torch.allclose(images, plain, atol=LEVEL)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_half_precision_latents_are_equal_to_the_pipelines(
    dtype: torch.dtype, prediction_type: str
) -> None:
    schedule = {**TURBO_SCHEDULE, "prediction_type": prediction_type}
    pipe = small_pipeline(EulerAncestralDiscreteScheduler(**schedule), force_upcast=False).to(dtype)
    generator = one_step_generator(pipe)

    latents = generator.denoise(PROMPTS, generator.draw_noise(SEEDS, IMAGE_SIZE))
    images = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)

    assert latents.dtype == dtype
    assert torch.equal(latents, run_pipeline(pipe, PROMPTS, SEEDS, output_type="latent"))
    assert images.dtype == torch.float32
    # The same picture: ours keeps the digits that the pipeline rounds off on the way to [0, 1].
    assert torch.equal(images.to(dtype), run_pipeline(pipe, PROMPTS, SEEDS))


def test_the_vae_of_a_float16_model_works_in_bfloat16_and_is_not_moved_again() -> None:
    theirs = run_pipeline(small_pipeline().to(torch.float16), PROMPTS, SEEDS)  # float32 VAE
    pipe = small_pipeline().to(torch.float16)
    generator = one_step_generator(pipe)
    images = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)

    assert pipe.vae.dtype == torch.bfloat16
    assert pipe.unet.dtype == torch.float16
    assert (images - theirs.float()).abs().mean() < 1.5 * LEVEL


def test_the_vae_of_a_float32_model_stays_in_float32() -> None:
    pipe = small_pipeline()
    one_step_generator(pipe)
    assert pipe.vae.config.force_upcast
    assert pipe.vae.dtype == torch.float32


def test_the_batch_changes_no_noise_and_no_pixel_by_more_than_one_level() -> None:
    prompts, seeds = PROMPTS * 3, list(range(15))
    generator = one_step_generator(small_pipeline())
    noise = generator.draw_noise(seeds, IMAGE_SIZE)
    together = (generator.generate(prompts, seeds, IMAGE_SIZE) * 255).round()
    for batch in (1, 4):
        for first in range(0, 15, batch):
            part = slice(first, first + batch)
            assert torch.equal(generator.draw_noise(seeds[part], IMAGE_SIZE), noise[part])
            images = generator.generate(prompts[part], seeds[part], IMAGE_SIZE)
            assert ((images * 255).round() - together[part]).abs().max() <= 1


def test_noise_is_drawn_from_a_fresh_rng_for_each_seed() -> None:
    generator = one_step_generator(small_pipeline())
    noise = generator.draw_noise([7, 8, 7], 20)  # 4 x 5 x 5 = 100 numbers, an odd share of pairs
    expected = torch.randn(4, 5, 5, generator=torch.Generator("cpu").manual_seed(7))
    assert torch.equal(noise[0], expected)
    assert torch.equal(noise[2], expected)
    assert not torch.equal(noise[1], expected)


def test_the_global_rng_is_neither_read_nor_moved() -> None:
    generator = one_step_generator(small_pipeline())
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(generator.generate(PROMPTS, SEEDS, IMAGE_SIZE), first)


def test_each_distinct_prompt_is_encoded_once_whatever_is_generated() -> None:
    pipe = small_pipeline()
    generator = one_step_generator(pipe, [])
    with patch.object(sdxl_turbo, "encode", wraps=text_encoders.encode) as encode:
        generator.encode_prompts(["a dog", "castle", "a dog"])
        generator.encode_prompts(["castle", "an apple"])
        generator.generate(["a dog", "an apple", "a dog"], [1, 2, 3], IMAGE_SIZE)
    assert [call.args[1] for call in encode.call_args_list] == [["a dog", "castle"], ["an apple"]]


def test_more_prompts_than_one_encoding_batch_keep_their_own_embeddings() -> None:
    prompts = [f"thing {i}" for i in range(70)]
    pipe = small_pipeline()
    images = one_step_generator(pipe, prompts).generate(prompts[60:65], SEEDS, IMAGE_SIZE)
    expected = run_pipeline(pipe, prompts[60:65], SEEDS)
    assert (images - expected).abs().max() <= LEVEL


def test_a_repeated_prompt_makes_the_pipelines_pictures() -> None:
    pipe = small_pipeline()
    prompts = ["a dog", "a dog", "castle", "a dog", "castle"]
    images = one_step_generator(pipe, prompts).generate(prompts, SEEDS, IMAGE_SIZE)
    assert (images - run_pipeline(pipe, prompts, SEEDS)).abs().max() <= LEVEL
    assert not torch.equal(images[0], images[1])


def test_a_prompt_over_77_tokens_is_an_error_and_not_cut() -> None:
    generator = one_step_generator(small_pipeline(), [])
    generator.encode_prompts(["x" * 75])  # with start and end: 77
    with pytest.raises(PromptError, match=r"has 78 tokens and the model reads 77; .*'xxx"):
        generator.encode_prompts(["a dog", "x" * 76])


def test_a_prompt_that_is_not_encoded_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'a cat' is not encoded"):
        one_step_generator(small_pipeline()).generate(["a dog", "a cat"], [1, 2], IMAGE_SIZE)


def test_as_many_seeds_as_prompts_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"2 prompts and 1 seeds"):
        one_step_generator(small_pipeline()).generate(PROMPTS[:2], [1], IMAGE_SIZE)


def test_an_image_size_between_two_latents_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image_size 30 is not a multiple of 4"):
        one_step_generator(small_pipeline()).generate(PROMPTS[:1], [1], 30)


def test_released_text_encoders_leave_what_is_encoded() -> None:
    pipe = small_pipeline()
    generator = one_step_generator(pipe)
    before = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)
    generator.release_text_encoders()
    assert pipe.text_encoder is None
    assert pipe.text_encoder_2 is None
    generator.encode_prompts(PROMPTS)
    assert torch.equal(generator.generate(PROMPTS, SEEDS, IMAGE_SIZE), before)
    with pytest.raises(ValueError, match=r"released before 'a cat' was encoded"):
        generator.encode_prompts(["a cat"])


def test_images_are_the_models_own_size_and_never_smaller_than_the_target() -> None:
    generator = one_step_generator(small_pipeline(), [])
    assert generator.image_size(16) == 32
    assert generator.image_size(32) == 32
    assert generator.image_size(64) == 64


def test_a_unet_with_other_conditioning_is_refused() -> None:
    pipe = small_pipeline()
    pipe.unet.register_to_config(time_cond_proj_dim=256)
    with pytest.raises(WeightsError, match=r"time_cond_proj_dim 256; expected None"):
        one_step_generator(pipe)
