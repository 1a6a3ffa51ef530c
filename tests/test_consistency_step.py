"""The only step at a timestep of its own is LCMScheduler's, bit for bit where it can be."""

import math

import pytest
import torch
from diffusers import EulerDiscreteScheduler, LCMScheduler
from pipelines import (
    IMAGE_SIZE,
    PROMPTS,
    TURBO_SCHEDULE,
    one_step_generator,
    run_pipeline,
    small_pipeline,
)

from challenge.errors import WeightsError
from challenge.generators.consistency_step import consistency_step

CPU = torch.device("cpu")
SEEDS = [0, 1, 2**62 + 3, 4, 5]
# of stabilityai/stable-diffusion-xl-base-1.0, scheduler/scheduler_config.json
SDXL_BASE_SCHEDULE = {
    **TURBO_SCHEDULE,
    "timestep_spacing": "leading",
    "clip_sample": False,
    "interpolation_type": "linear",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "use_karras_sigmas": False,
}


def as_on_the_model_cards(**changes: object) -> LCMScheduler:
    """``LCMScheduler.from_config`` of the base's own noise scheduler."""
    return LCMScheduler.from_config(
        EulerDiscreteScheduler.from_config(SDXL_BASE_SCHEDULE).config, **changes
    )


@pytest.mark.parametrize("timestep", [399, 800, 999, 0])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_latents_and_images_are_equal_to_the_pipelines(timestep: int, prediction_type: str) -> None:
    pipe = small_pipeline(as_on_the_model_cards(prediction_type=prediction_type))
    generator = one_step_generator(pipe, timestep=timestep)

    latents = generator.denoise(PROMPTS, generator.draw_noise(SEEDS, IMAGE_SIZE))
    images = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)

    theirs = run_pipeline(pipe, PROMPTS, SEEDS, output_type="latent", timesteps=[timestep])
    assert torch.equal(latents, theirs)
    assert torch.equal(images, run_pipeline(pipe, PROMPTS, SEEDS, timesteps=[timestep]))
    assert images.std() > 0.01  # so there is something to be equal
    assert generator.description.timestep == timestep
    assert generator.description.prediction_type == prediction_type


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("timestep", [399, 800])
def test_half_precision_latents_are_equal_to_the_pipelines(
    dtype: torch.dtype, timestep: int
) -> None:
    pipe = small_pipeline(as_on_the_model_cards(), force_upcast=False).to(dtype)
    generator = one_step_generator(pipe, timestep=timestep)
    latents = generator.denoise(PROMPTS, generator.draw_noise(SEEDS, IMAGE_SIZE))
    theirs = run_pipeline(pipe, PROMPTS, SEEDS, output_type="latent", timesteps=[timestep])
    assert latents.dtype == dtype
    assert torch.equal(latents, theirs)


def test_another_timestep_makes_other_pictures() -> None:
    pipe = small_pipeline(as_on_the_model_cards())
    first, second = (
        one_step_generator(pipe, timestep=t).generate(PROMPTS, SEEDS, IMAGE_SIZE)
        for t in (399, 800)
    )
    assert (first - second).abs().max() > 0.01


def test_the_step_at_399_by_hand() -> None:
    roots = [0.00085**0.5 + i / 999 * (0.012**0.5 - 0.00085**0.5) for i in range(400)]
    kept = math.prod(1 - root**2 for root in roots)

    step = consistency_step(as_on_the_model_cards(), 399, CPU)

    assert step.timestep.item() == 399
    assert step.timestep.dtype == torch.float32
    assert step.alpha_prod.item() == pytest.approx(kept, rel=1e-5)
    assert step.c_skip.item() == pytest.approx(0.25 / (3990**2 + 0.25))
    assert step.c_out.item() == pytest.approx(1.0)
    noise = torch.full((1, 4, 2, 2), 2.0)
    assert step.unet_input(step.noisy_latents(noise)).mean().item() == 2.0
    # of a noise of 2 the UNet finds 0.5: (2 - sqrt(1 - kept) / 2) / sqrt(kept)
    expected = (2 - (1 - kept) ** 0.5 * 0.5) / kept**0.5
    found = step.image_latents(noise, torch.full_like(noise, 0.5))
    assert found.mean().item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("change", [{"clip_sample": True}, {"thresholding": True}])
def test_a_noise_scheduler_that_clips_is_refused(change: dict[str, bool]) -> None:
    with pytest.raises(WeightsError, match=r"clips its latents.*\"clip_sample\": false"):
        consistency_step(as_on_the_model_cards(**change), 399, CPU)


def test_a_timestep_beyond_the_models_own_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"timestep 800 is none .* from 0 to 499"):
        consistency_step(as_on_the_model_cards(num_train_timesteps=500), 800, CPU)
