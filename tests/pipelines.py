"""Small random SDXL pipelines, for tests; and what diffusers' own pipeline makes with them."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from challenge.generators.base import GeneratorDescription
from challenge.generators.sdxl_turbo import OneStepGenerator

# stabilityai/sdxl-turbo, scheduler/scheduler_config.json
TURBO_SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "trailing",
    "prediction_type": "epsilon",
    "steps_offset": 1,
}
PROMPTS = ["an apple", "a bear on a plain", "castle", "a dog", "a house by a river"]
IMAGE_SIZE = 32  # the small pipeline's own


def small_pipeline(
    noise_scheduler: object | None = None, seed: int = 1, **vae_config: object
) -> StableDiffusionXLPipeline:
    """All parts of SDXL in float32, at 32 pixels: 4 to a latent, 8 latents a side."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        pipe = StableDiffusionXLPipeline(
            vae=small_vae(**vae_config),
            text_encoder=CLIPTextModel(text_config(width=16)),
            text_encoder_2=CLIPTextModelWithProjection(text_config(width=32)),
            tokenizer=byte_tokenizer(pad_token="<|endoftext|>"),
            tokenizer_2=byte_tokenizer(pad_token="!"),
            unet=small_unet(),
            scheduler=noise_scheduler or EulerAncestralDiscreteScheduler(**TURBO_SCHEDULE),
            add_watermarker=False,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def small_vae(**config: object) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
        **{"scaling_factor": 0.13025, **config},
    ).eval()


def small_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        norm_num_groups=8,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        cross_attention_dim=16 + 32,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24 + 6 * 8,
    ).eval()


def text_config(width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=24,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )


def byte_tokenizer(pad_token: str) -> CLIPTokenizer:
    """CLIP's tokenizer without a single merge: a token for each letter."""
    alphabet = sorted(ByteLevel.alphabet())
    symbols = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet)]
    symbols += ["<|startoftext|>", "<|endoftext|>"]
    token_ids = {symbol: token_id for token_id, symbol in enumerate(symbols)}
    return CLIPTokenizer(token_ids, [], pad_token=pad_token, model_max_length=77)


def one_step_generator(
    pipe: StableDiffusionXLPipeline | StableDiffusionPipeline,
    prompts: Sequence[str] = PROMPTS,
    timestep: int | None = None,
) -> OneStepGenerator:
    """The generator under test, with ``prompts`` encoded."""
    description = GeneratorDescription("small", "random weights", None, "float32", "cpu")
    generator = OneStepGenerator(pipe, description, timestep)
    generator.encode_prompts(prompts)
    return generator


def run_pipeline(
    pipe: StableDiffusionXLPipeline | StableDiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    image_size: int = IMAGE_SIZE,
    output_type: str = "pt",
    steps: int = 1,
    timesteps: Sequence[int] | None = None,
) -> Tensor:
    """What diffusers makes of them; ``output_type="latent"`` stops before the VAE."""
    images: Tensor = pipe(
        prompt=list(prompts),
        num_inference_steps=steps,
        timesteps=None if timesteps is None else list(timesteps),
        guidance_scale=0.0,
        height=image_size,
        width=image_size,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        output_type=output_type,
    ).images
    return images


def small_sd_pipeline(seed: int = 1) -> StableDiffusionPipeline:
    """All parts of SD-Turbo in float32: one text encoder, no size conditioning."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=IMAGE_SIZE // 4,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            cross_attention_dim=16,
        ).eval()
        pipe = StableDiffusionPipeline(
            vae=small_vae(scaling_factor=0.18215),
            text_encoder=CLIPTextModel(text_config(width=16)),
            tokenizer=byte_tokenizer(pad_token="!"),
            unet=unet,
            scheduler=EulerDiscreteScheduler(**TURBO_SCHEDULE),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe
