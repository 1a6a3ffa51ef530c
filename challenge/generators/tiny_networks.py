"""The shapes of the embedded model: what its training builds and what its loader fills.

Every part that SDXL-Turbo has is here, small: two text encoders, a UNet with size conditioning, a
VAE. A change of a number here makes the shipped weights unreadable, so the loader says so.

Convolutions are 128 channels wide, a multiple of what a CPU's matrix unit (AMX) and a GPU's tensor
cores do at once. The UNet works on latents of 4x4 pixels: 8x8 of them for 32 pixels, 16x16 for 64.
"""

from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig

LATENT_CHANNELS = 12
LATENT_PIXELS = 4  # side of the square of pixels that a latent stands for
PROMPT_TOKENS = 77
VOCABULARY_SIZE = 2048
TEXT_WIDTH = 64  # of each of the two text encoders
POOLED_WIDTH = 128
SIZE_WIDTH = 16  # of each of the six numbers of the size conditioning


def build_unet() -> UNet2DConditionModel:
    """4.5 million parameters; the pooled prompt moves every layer, the middle reads its tokens."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(128, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=16,
        attention_head_dim=2,  # diffusers' name for the number of heads
        use_linear_projection=True,
        cross_attention_dim=2 * TEXT_WIDTH,
        time_embedding_dim=256,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text_time",
        addition_time_embed_dim=SIZE_WIDTH,
        projection_class_embeddings_input_dim=POOLED_WIDTH + 6 * SIZE_WIDTH,
    )


def build_vae() -> AutoencoderKL:
    """Four pixels a latent, and no attention, which would cost most of the decoding."""
    return AutoencoderKL(
        block_out_channels=(32, 64, 96),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=16,
        mid_block_add_attention=False,
        sample_size=32,
        force_upcast=False,
        scaling_factor=1.0,  # the latents have unit variance as they are
    )


def text_config(bos_token_id: int, eos_token_id: int) -> CLIPTextConfig:
    """Two layers; SDXL reads the tokens from the last but one, the pooled prompt from the last."""
    return CLIPTextConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=POOLED_WIDTH,
        max_position_embeddings=PROMPT_TOKENS,
        bos_token_id=bos_token_id,
        eos_token_id=eos_token_id,
        pad_token_id=eos_token_id,
    )


def noise_scheduler() -> EulerDiscreteScheduler:
    """SDXL-Turbo's schedule, but for a UNet that predicts the image itself.

    One step from an epsilon prediction multiplies its error by sigma, 14.6: too much for a model
    of this size to learn its way around.
    """
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="trailing",
        prediction_type="sample",
    )
