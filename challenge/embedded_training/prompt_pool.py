"""Encoded prompts of every class, made once: the UNet is trained on these."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from jaxtyping import Float, Int64
from torch import Tensor

from challenge.embedded_training.wording import names_of, random_prompt
from challenge.generators.one_step import OneStep
from challenge.prompts import PromptBook

PROMPTS_PER_CLASS = 16  # the first is the prompt book's own


@dataclass(frozen=True)
class PromptPool:
    """Embeddings of some prompts of each class, and the size that is asked for with them."""

    hidden: Float[Tensor, "classes prompts tokens width"]
    pooled: Float[Tensor, "classes prompts pooled"]
    size_ids: Float[Tensor, "1 6"]

    @classmethod
    def of(
        cls,
        pipe: StableDiffusionXLPipeline,
        book: PromptBook,
        image_size: int,
        seed: int,
        device: torch.device,
    ) -> "PromptPool":
        """Encode the book's own prompt and random wordings of each class, in bfloat16."""
        rng = random.Random(seed)
        hidden, pooled = [], []
        for index, names in enumerate(names_of(book)):
            prompts = [book.prompts_for(index)[0]]
            prompts += [random_prompt(names, rng) for _ in range(PROMPTS_PER_CLASS - 1)]
            encoded = _encode(pipe, prompts)
            hidden.append(encoded[0])
            pooled.append(encoded[1])
        sizes = torch.tensor([[image_size, image_size, 0, 0, image_size, image_size]])
        parts = (torch.stack(hidden), torch.stack(pooled), sizes)
        return cls(*(part.to(device, torch.bfloat16) for part in parts))

    def paint(
        self,
        unet: UNet2DConditionModel,
        step: OneStep,
        labels: Int64[Tensor, " B"],
        noise: Float[Tensor, "B latent h w"],
        prompts: Int64[Tensor, " B"],
    ) -> Float[Tensor, "B latent h w"]:
        """Latents of images of these classes: the one UNet call, as ``generate`` makes it."""
        hidden, pooled = self.hidden[labels, prompts], self.pooled[labels, prompts]
        start = step.unet_input(step.noisy_latents(noise)).to(self.hidden)
        (output,) = unet(
            start.to(memory_format=torch.channels_last),
            step.timestep,
            encoder_hidden_states=hidden,
            added_cond_kwargs={
                "text_embeds": pooled,
                "time_ids": self.size_ids.expand(len(labels), -1),
            },
            return_dict=False,
        )
        latents: Tensor = output.float()
        return latents


@torch.inference_mode()
def _encode(
    pipe: StableDiffusionXLPipeline, prompts: Sequence[str]
) -> tuple[Float[Tensor, "N tokens width"], Float[Tensor, "N pooled"]]:
    hidden, _, pooled, _ = pipe.encode_prompt(list(prompts), do_classifier_free_guidance=False)
    return hidden, pooled
