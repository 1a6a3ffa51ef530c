"""Encoded prompts, made once: the UNet is trained on these."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor

from challenge.generators.one_step import OneStep
from challenge.generators.text_encoders import encode


@dataclass(frozen=True)
class PromptPool:
    """Embeddings of each prompt, and the size that is asked for with them."""

    rows: dict[str, int]
    hidden: Float[Tensor, "prompts tokens width"]
    pooled: Float[Tensor, "prompts pooled"]
    size_ids: Float[Tensor, "1 6"]

    @classmethod
    def of(
        cls,
        pipe: StableDiffusionXLPipeline,
        prompts: Iterable[str],
        image_size: int,
        device: torch.device,
    ) -> "PromptPool":
        """Encode each prompt once, in bfloat16: 20 KB each."""
        distinct = list(dict.fromkeys(prompts))
        hidden, pooled = (torch.cat(rows) for rows in zip(*encode(pipe, distinct), strict=True))
        sizes = torch.tensor([[image_size, image_size, 0, 0, image_size, image_size]])
        rows = {prompt: row for row, prompt in enumerate(distinct)}
        parts = (hidden, pooled, sizes)
        return cls(rows, *(part.to(device, torch.bfloat16) for part in parts))

    def paint(
        self,
        unet: UNet2DConditionModel,
        step: OneStep,
        prompts: Sequence[str],
        noise: Float[Tensor, "B latent h w"],
    ) -> Float[Tensor, "B latent h w"]:
        """Latents of an image for each prompt: the one UNet call, as ``generate`` makes it."""
        rows = torch.tensor([self.rows[prompt] for prompt in prompts])
        start = step.unet_input(step.noisy_latents(noise)).to(self.hidden)
        (output,) = unet(
            start.to(memory_format=torch.channels_last),
            step.timestep,
            encoder_hidden_states=self.hidden[rows],
            added_cond_kwargs={
                "text_embeds": self.pooled[rows],
                "time_ids": self.size_ids.expand(len(rows), -1),
            },
            return_dict=False,
        )
        latents: Tensor = output.float()
        return latents
