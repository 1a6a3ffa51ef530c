"""A public model at its full size with random weights: for measuring a machine without a download.

Speed does not depend on the values of weights, as long as they are not zeros, which save a GPU
power, and nothing overflows. So each matrix is normal with a deviation of 1 / sqrt(inputs), which
keeps activations as large as they come, and gains lie around one. The networks are built on
the meta device and filled where they will run, in the dtype in which they will run: there is never
a second copy.

Its pictures show nothing. It is a part of ``benchmark`` and no ``--model`` of a run.
"""

import math
from collections.abc import Callable

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from challenge.generators.public_configs import Config, PublicModel
from challenge.generators.tiny import BOS, EOS, TINY_MODEL_DIR, VOCABULARY_FILE, Vocabulary

BIAS_STD = 0.02
EMBEDDING_STD = 0.02  # CLIP's own start (transformers, CLIPTextConfig.initializer_factor)


def random_pipeline(
    model: PublicModel, device: torch.device, dtype: torch.dtype, seed: int = 0
) -> DiffusionPipeline:
    """The pipeline on ``device`` in ``dtype``; same seed and device, same weights.

    Its tokenizers are those of the embedded model: they read any prompt, and a text encoder takes
    77 tokens whatever they are.
    """
    vocabulary = Vocabulary.from_json((TINY_MODEL_DIR / VOCABULARY_FILE).read_text("utf-8"))
    rng = torch.Generator(device).manual_seed(seed)

    def network(build: Callable[[], nn.Module]) -> nn.Module:
        return materialise(build, device, dtype, rng)

    parts = {
        "unet": network(lambda: UNet2DConditionModel(**model.unet)),
        "vae": network(lambda: AutoencoderKL(**model.vae)),
        "tokenizer": vocabulary.tokenizer(pad_token=EOS),
        "scheduler": EulerAncestralDiscreteScheduler(**model.noise_scheduler),
    }
    configs = [_text_config(config, vocabulary) for config in model.text_encoders]
    parts["text_encoder"] = network(lambda: CLIPTextModel(configs[0]))
    if len(configs) == 1:
        return StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    return StableDiffusionXLPipeline(
        **parts,
        tokenizer_2=vocabulary.tokenizer(pad_token="!"),
        text_encoder_2=network(lambda: CLIPTextModelWithProjection(configs[1])),
        add_watermarker=False,
    )


def _text_config(config: Config, vocabulary: Vocabulary) -> CLIPTextConfig:
    """The config as published, told where this vocabulary has its special tokens."""
    ids = vocabulary.token_ids
    return CLIPTextConfig(
        **config,
        vocab_size=49_408,
        max_position_embeddings=77,
        bos_token_id=ids[BOS],
        eos_token_id=ids[EOS],
        pad_token_id=ids[EOS],
    )


def materialise(
    build: Callable[[], nn.Module], device: torch.device, dtype: torch.dtype, rng: torch.Generator
) -> nn.Module:
    """Build without memory, then fill on ``device``; the network is ready for inference."""
    with torch.device("meta"):
        network = build()
    network = network.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    fill_at_random(network, rng)
    return network


@torch.no_grad()
def fill_at_random(network: nn.Module, rng: torch.Generator) -> None:
    """Give every parameter random values, none of them zero, and count CLIP's places."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            _fill(module, name, parameter, rng)
        for name, buffer in module.named_buffers(recurse=False):
            if name != "position_ids":  # CLIP's; no other part of these pipelines has a buffer
                raise ValueError(f"{type(module).__name__} has a buffer {name} that is not known")
            buffer.copy_(torch.arange(buffer.numel(), device=buffer.device).view_as(buffer))


def _fill(module: nn.Module, name: str, parameter: Tensor, rng: torch.Generator) -> None:
    """Random values of a size that keeps activations in the range of float16."""
    if parameter.ndim == 1:
        is_gain = name == "weight" and isinstance(module, nn.GroupNorm | nn.LayerNorm)
        parameter.normal_(1.0 if is_gain else 0.0, BIAS_STD, generator=rng)
    elif isinstance(module, nn.Embedding):
        parameter.normal_(0.0, EMBEDDING_STD, generator=rng)
    else:
        parameter.normal_(0.0, 1 / math.sqrt(parameter[0].numel()), generator=rng)
