import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)
from pipelines import TURBO_SCHEDULE

from challenge.errors import WeightsError
from challenge.generators.one_step import OneStep, only_step

CPU = torch.device("cpu")


def turbo_step(**config: object) -> OneStep:
    noise_scheduler = EulerDiscreteScheduler(**{**TURBO_SCHEDULE, **config})
    return only_step(noise_scheduler, CPU)


def test_sdxl_turbo_starts_at_the_last_timestep_with_the_sigma_of_its_betas() -> None:
    roots = [0.00085**0.5 + i / 999 * (0.012**0.5 - 0.00085**0.5) for i in range(1000)]
    kept = 1.0
    for root in roots:
        kept *= 1 - root**2

    step = only_step(EulerAncestralDiscreteScheduler(**TURBO_SCHEDULE), CPU)

    assert step.timestep.item() == 999
    assert step.timestep.dtype == torch.float32
    assert step.sigma.item() == pytest.approx(((1 - kept) / kept) ** 0.5, rel=1e-5)
    assert step.sigma.item() == pytest.approx(14.6146, abs=1e-4)
    assert step.init_noise_sigma.item() == step.sigma.item()


def test_the_unet_is_shown_latents_of_nearly_unit_variance() -> None:
    latents = turbo_step().noisy_latents(torch.ones(1, 4, 2, 2))
    assert latents.mean().item() == pytest.approx(14.6146, abs=1e-4)
    # 14.6146 / sqrt(14.6146 ** 2 + 1)
    assert turbo_step().unet_input(latents).mean().item() == pytest.approx(0.997667, abs=1e-5)


@pytest.mark.parametrize(
    ("prediction_type", "expected"),
    [
        ("epsilon", 14.6146 * (1 - 0.25)),  # noise 1, of which 0.25 is predicted
        ("v_prediction", (14.6146 / 214.587) - 0.25 * 14.6146 / 214.587**0.5),
        ("sample", 0.25),
    ],
)
def test_each_prediction_type_has_its_own_way_to_the_image(
    prediction_type: str, expected: float
) -> None:
    step = turbo_step(prediction_type=prediction_type)
    latents = step.noisy_latents(torch.ones(1, 4, 2, 2))
    image_latents = step.image_latents(latents, torch.full((1, 4, 2, 2), 0.25))
    assert image_latents.mean().item() == pytest.approx(expected, abs=1e-4)


def test_the_dtype_of_the_output_is_kept() -> None:
    half = torch.ones(1, 4, 2, 2, dtype=torch.bfloat16)
    step = turbo_step()
    latents = step.noisy_latents(half)
    assert latents.dtype == torch.bfloat16
    assert step.unet_input(latents).dtype == torch.bfloat16
    assert step.image_latents(latents, half).dtype == torch.bfloat16


def test_another_class_of_noise_scheduler_is_refused_by_name() -> None:
    with pytest.raises(WeightsError, match=r"DDIMScheduler.*expected Euler.* or EulerDiscrete"):
        only_step(DDIMScheduler(), CPU)


def test_a_prediction_that_the_noise_scheduler_does_not_know_is_refused() -> None:
    noise_scheduler = EulerAncestralDiscreteScheduler(prediction_type="sample")
    with pytest.raises(WeightsError, match=r"'sample'; expected epsilon or v_prediction"):
        only_step(noise_scheduler, CPU)


def test_a_step_that_leaves_noise_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"leaves noise of sigma 0\.0292.*final_sigmas_type"):
        turbo_step(final_sigmas_type="sigma_min")


def test_settings_that_the_library_refuses_are_told_in_one_line() -> None:
    with pytest.raises(WeightsError, match=r"no single step: sideways is not supported") as caught:
        turbo_step(timestep_spacing="sideways")
    assert "\n" not in str(caught.value)
