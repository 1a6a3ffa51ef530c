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

SEEDS = [0, 1, 2**62 + 3, 4, 5]


@pytest.mark.parametrize("steps", [2, 4])
@pytest.mark.parametrize("kind", [EulerAncestralDiscreteScheduler, EulerDiscreteScheduler])
def test_several_steps_are_equal_to_the_pipelines(steps: int, kind: type) -> None:
    pipe = small_pipeline(kind(**TURBO_SCHEDULE))
    generator = one_step_generator(pipe)
    in_one_step = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)
    generator.num_inference_steps = steps

    images = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)

    assert torch.equal(images, run_pipeline(pipe, PROMPTS, SEEDS, steps=steps))
    assert not torch.allclose(images, in_one_step, atol=0.01)
    assert torch.equal(generator.generate(PROMPTS, SEEDS, IMAGE_SIZE), images)


def test_several_steps_of_a_model_like_sd_turbo_are_equal_too() -> None:
    pipe = small_sd_pipeline()
    generator = one_step_generator(pipe)
    generator.num_inference_steps = 2
    images = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)
    assert torch.equal(images, run_pipeline(pipe, PROMPTS, SEEDS, steps=2))


def test_half_precision_is_equal_too() -> None:
    pipe = small_pipeline(force_upcast=False).to(torch.bfloat16)
    generator = one_step_generator(pipe)
    generator.num_inference_steps = 2
    latents = generator.image_latents(PROMPTS, SEEDS, IMAGE_SIZE)
    assert latents.dtype == torch.bfloat16
    expected = run_pipeline(pipe, PROMPTS, SEEDS, steps=2, output_type="latent")
    assert torch.equal(latents, expected)
