"""The shapes of the public one-step models, so that they can be built where no weights are.

What differs from the defaults of diffusers and transformers, from the ``config.json`` of each part
of the hub repositories stabilityai/sdxl-turbo and stabilityai/sd-turbo. The counts of parameters
are those of the published weights; the tests hold the networks to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]


@dataclass(frozen=True)
class PublicModel:
    """The configs of a pipeline's networks and of its noise scheduler; one or two text encoders."""

    source: str  # hub id
    unet: Config
    vae: Config
    text_encoders: tuple[Config, ...]
    noise_scheduler: Config


# scheduler/scheduler_config.json, of both
TURBO_SCHEDULE: Config = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "trailing",
    "prediction_type": "epsilon",
    "steps_offset": 1,
}
# 83,653,863 parameters, of both but for the scale of the latents
VAE: Config = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
# CLIP ViT-L/14: 123,060,480 parameters
CLIP_L: Config = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
# OpenCLIP ViT-bigG/14: 694,659,840 parameters
CLIP_BIG_G: Config = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
# OpenCLIP ViT-H/14 without its last layer: 340,387,840 parameters
CLIP_H: Config = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "projection_dim": 512,
    "hidden_act": "gelu",
}

SDXL_TURBO = PublicModel(
    source="stabilityai/sdxl-turbo",
    unet={  # 2,567,463,684 parameters
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),  # diffusers' name for the number of heads
        "use_linear_projection": True,
        "cross_attention_dim": 2048,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    vae={**VAE, "scaling_factor": 0.13025, "force_upcast": True},
    text_encoders=(CLIP_L, CLIP_BIG_G),
    noise_scheduler=TURBO_SCHEDULE,
)
SD_TURBO = PublicModel(
    source="stabilityai/sd-turbo",
    unet={  # 865,910,724 parameters
        "sample_size": 64,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
        "cross_attention_dim": 1024,
    },
    vae={**VAE, "scaling_factor": 0.18215},
    text_encoders=(CLIP_H,),
    noise_scheduler=TURBO_SCHEDULE,
)
PUBLIC_MODELS = {"sdxl-turbo": SDXL_TURBO, "sd-turbo": SD_TURBO}
