"""The only step of a model that is run by diffusers' LCMScheduler, at a timestep of its own.

Hyper-SD's and DMD2's one-step UNets do not start at the noisiest timestep: they take pure noise for
a picture that is as noisy as timestep 800 or 399 has it. The formulas are those of diffusers 0.42's
scheduling_lcm.py (``step`` with one timestep), operation for operation. ``c_skip`` and ``c_out``,
which hold a consistency model to its border, are 1.6e-8 and 1 at timestep 399: nearly nothing.
"""

from dataclasses import dataclass

import torch
from diffusers import LCMScheduler
from jaxtyping import Float
from torch import Tensor

from challenge.errors import WeightsError


@dataclass(frozen=True)
class ConsistencyStep:
    """As ``OneStep``: the timestep is on the device, the other numbers are 0-dim on the CPU."""

    timestep: Float[Tensor, ""]
    alpha_prod: Float[Tensor, ""]  # what is left of the picture's variance at the timestep
    c_skip: Float[Tensor, ""]
    c_out: Float[Tensor, ""]
    prediction_type: str

    def noisy_latents(self, noise: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Latents to start from: the noise itself."""
        return noise

    def unet_input(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """What the UNet is shown of the latents: all of them."""
        return latents

    def image_latents(
        self, latents: Float[Tensor, "B C h w"], output: Float[Tensor, "B C h w"]
    ) -> Float[Tensor, "B C h w"]:
        """Latents of the image, from those of the start and the UNet's output, in its dtype."""
        picture, noise = self.alpha_prod.sqrt(), (1 - self.alpha_prod).sqrt()
        if self.prediction_type == "epsilon":
            predicted = (latents - noise * output) / picture
        elif self.prediction_type == "v_prediction":
            predicted = picture * latents - noise * output
        else:  # "sample"
            predicted = output
        return self.c_out * predicted + self.c_skip * latents


def consistency_step(
    noise_scheduler: LCMScheduler, timestep: int, device: torch.device
) -> ConsistencyStep:
    """The step that ``noise_scheduler`` takes with ``timesteps=[timestep]``, by its own betas.

    Raises:
        WeightsError: it clips or has no such timestep.
    """
    config = noise_scheduler.config
    if config.clip_sample or config.thresholding:
        raise WeightsError(
            "the model's noise scheduler clips its latents, which this program does not; expected "
            '"clip_sample": false and no "thresholding" in scheduler_config.json'
        )
    if not 0 <= timestep < config.num_train_timesteps:
        raise WeightsError(
            f"timestep {timestep} is none of the model's; give --timestep from 0 to "
            f"{config.num_train_timesteps - 1}"
        )
    at = torch.tensor(timestep)
    c_skip, c_out = noise_scheduler.get_scalings_for_boundary_condition_discrete(at)
    return ConsistencyStep(
        timestep=at.to(device, torch.float32),
        alpha_prod=noise_scheduler.alphas_cumprod[timestep],
        c_skip=c_skip,
        c_out=c_out,
        prediction_type=config.prediction_type,
    )
