"""Two or four steps instead of one, for those who trade images for quality: diffusers' own loop.

Its noise scheduler draws new noise between the steps, each image's from a CPU rng of its own seed,
as ``StableDiffusionXLPipeline`` does with a list of rngs. The timesteps stay on the CPU, so that
the scheduler finds its place without waiting for the device.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from jaxtyping import Float
from torch import Tensor

UNetCall = Callable[[Tensor, Tensor], Tensor]


def denoise_in_steps(
    noise_scheduler: Any,
    steps: int,
    unet: UNetCall,
    seeds: Sequence[int],
    latent_shape: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
) -> Float[Tensor, "B C h w"]:
    """Latents of the images; ``unet`` takes its scaled input and a timestep on the device."""
    rngs = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    shape = (len(seeds), *latent_shape)
    noise_scheduler.set_timesteps(steps, device="cpu")
    noise = randn_tensor(shape, generator=rngs, device=device, dtype=dtype)
    latents: Tensor = noise * noise_scheduler.init_noise_sigma
    for timestep in noise_scheduler.timesteps:
        scaled = noise_scheduler.scale_model_input(latents, timestep)
        output = unet(scaled, timestep.to(device, non_blocking=True))
        (latents, *_) = noise_scheduler.step(
            output, timestep, latents, generator=rngs, return_dict=False
        )
    return latents
