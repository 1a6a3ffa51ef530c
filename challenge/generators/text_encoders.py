"""The text side of a pipeline: tokenizers and encoders, one as in SD-Turbo, or two as in SDXL.

As in diffusers 0.42 (``encode_prompt`` of pipeline_stable_diffusion_xl.py and
pipeline_stable_diffusion.py). SDXL reads the last but one layer of both encoders side by side and
the pooled output of the second; SD-Turbo the last layer, normalised, of its only one.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from challenge.errors import PromptError

ENCODE_BATCH = 32


def encode(pipe: Any, prompts: Sequence[str]) -> Iterator[list[Tensor]]:
    """Hidden states of the prompts, and for SDXL the pooled ones as well; a row for each prompt.

    They come in batches, so that a large pool is never in memory as a whole.

    Raises:
        PromptError: a prompt is longer than the model reads.
    """
    for first in range(0, len(prompts), ENCODE_BATCH):
        chunk = list(prompts[first : first + ENCODE_BATCH])
        check_lengths(pipe, chunk)
        yield _encode_two(pipe, chunk) if has_two(pipe) else _encode_one(pipe, chunk)


def has_two(pipe: Any) -> bool:
    """Whether it is SDXL's text side."""
    return getattr(pipe, "tokenizer_2", None) is not None


def check_lengths(pipe: Any, prompts: list[str]) -> None:
    """Refuse a prompt that the pipeline would cut with no more than a warning."""
    for tokenizer in (pipe.tokenizer, pipe.tokenizer_2) if has_two(pipe) else (pipe.tokenizer,):
        limit = tokenizer.model_max_length
        for prompt, ids in zip(prompts, tokenizer(prompts, verbose=False).input_ids, strict=True):
            if len(ids) > limit:
                raise PromptError(
                    f"a prompt has {len(ids)} tokens and the model reads {limit}; "
                    f"shorten it: {prompt!r}"
                )


def _token_ids(tokenizer: Any, prompts: list[str], device: torch.device) -> Tensor:
    ids: Tensor = tokenizer(
        prompts,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return ids.to(device)


@torch.inference_mode()
def _encode_two(pipe: Any, prompts: list[str]) -> list[Tensor]:
    first, second = (
        encoder(_token_ids(tokenizer, prompts, encoder.device), output_hidden_states=True)
        for tokenizer, encoder in (
            (pipe.tokenizer, pipe.text_encoder),
            (pipe.tokenizer_2, pipe.text_encoder_2),
        )
    )
    hidden = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    return [hidden, second.text_embeds]


@torch.inference_mode()
def _encode_one(pipe: Any, prompts: list[str]) -> list[Tensor]:
    encoder = pipe.text_encoder
    return [encoder(_token_ids(pipe.tokenizer, prompts, encoder.device)).last_hidden_state]
