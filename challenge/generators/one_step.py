"""The noise schedule of a one-step run: one timestep, one sigma, three kinds of UNet output.

diffusers' own noise scheduler says where the step starts, so its betas, its spacing and its
prediction type are honoured. The formulas are those of diffusers 0.42's
scheduling_euler_discrete.py and scheduling_euler_ancestral_discrete.py (``step``), operation for
operation, without their look-ups for each batch.
"""

from dataclasses import dataclass

import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, SchedulerMixin
from jaxtyping import Float
from torch import Tensor

from challenge.errors import WeightsError

# Noise schedulers whose only step ends at an image, and the predictions that each of them knows.
PREDICTION_TYPES = {
    EulerAncestralDiscreteScheduler: ("epsilon", "v_prediction"),
    EulerDiscreteScheduler: ("epsilon", "v_prediction", "sample"),
}


@dataclass(frozen=True)
class OneStep:
    """The only step of a one-step run: from noise straight to the latents of the image.

    ``timestep`` is a float32 tensor on the device: a number would be copied there in every batch.
    The sigmas are 0-dim float32 tensors on the CPU, as in diffusers: half-precision latents are
    rounded as the library rounds them, and no batch waits for the device.
    """

    timestep: Float[Tensor, ""]
    sigma: Float[Tensor, ""]
    init_noise_sigma: Float[Tensor, ""]
    prediction_type: str

    def noisy_latents(self, noise: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Latents to start from, for noise of unit variance."""
        return noise * self.init_noise_sigma

    def unet_input(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """What the UNet is shown of the latents: about unit variance."""
        return latents / ((self.sigma**2 + 1) ** 0.5)

    def image_latents(
        self, latents: Float[Tensor, "B C h w"], output: Float[Tensor, "B C h w"]
    ) -> Float[Tensor, "B C h w"]:
        """Latents of the image, from those of the start and the UNet's output, in its dtype.

        On paper ``derivative`` cancels out. It is kept because the library rounds that way
        (``step`` in scheduling_euler_discrete.py and scheduling_euler_ancestral_discrete.py).
        """
        sigma = self.sigma
        latents = latents.float()
        if self.prediction_type == "epsilon":
            predicted = latents - sigma * output
        elif self.prediction_type == "v_prediction":
            predicted = output * (-sigma / (sigma**2 + 1) ** 0.5) + latents / (sigma**2 + 1)
        else:  # "sample": the UNet predicts the latents of the image themselves
            predicted = output
        derivative = (latents - predicted) / sigma
        return (latents + derivative * -sigma).to(output.dtype)


def only_step(noise_scheduler: SchedulerMixin, device: torch.device) -> OneStep:
    """The step that ``noise_scheduler`` takes, by its own betas and spacing, if it takes only one.

    Raises:
        WeightsError: its class or its settings cannot go from noise to an image in one step.
    """
    check_prediction(noise_scheduler)
    try:
        noise_scheduler.set_timesteps(1)
    except ValueError as error:
        raise WeightsError(f"the model's noise scheduler has no single step: {error}") from error
    start, end = noise_scheduler.sigmas
    if end != 0:
        raise WeightsError(
            f"the model's noise scheduler leaves noise of sigma {end:.3g} after one step; "
            'expected "final_sigmas_type": "zero" in scheduler_config.json'
        )
    return OneStep(
        timestep=noise_scheduler.timesteps[0].to(device),
        sigma=start,
        init_noise_sigma=noise_scheduler.init_noise_sigma,
        prediction_type=noise_scheduler.config.prediction_type,
    )


def check_prediction(noise_scheduler: SchedulerMixin) -> None:
    """Refuse, with a ``WeightsError``, a class or a prediction that ``OneStep`` does not know."""
    kind = type(noise_scheduler)
    if kind not in PREDICTION_TYPES:
        raise WeightsError(
            f"the model's noise scheduler is {kind.__name__}, which this program cannot run in one "
            f"step; expected {' or '.join(known.__name__ for known in PREDICTION_TYPES)}"
        )
    prediction_type = noise_scheduler.config.prediction_type
    if prediction_type not in PREDICTION_TYPES[kind]:
        raise WeightsError(
            f"the model's {kind.__name__} has prediction_type {prediction_type!r}; "
            f"expected {' or '.join(PREDICTION_TYPES[kind])}"
        )
