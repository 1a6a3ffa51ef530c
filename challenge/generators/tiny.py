"""``--model tiny``: an SDXL-shaped pipeline of two million random weights, made in a moment.

It has every part that SDXL-Turbo has (two tokenizers and text encoders, a UNet with size
conditioning, a VAE), so a run with it takes the same way as a real one, on any CPU and without a
download. Its weights are random for now and its pictures are noise; ``TINY_NOTE`` tells the user.

It paints at the target's own size: 32 or 64 pixels are 16 or 32 latents a side.
"""

import json
from collections.abc import Iterable

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

TINY_SEED = 0
TINY_SOURCE = f"built in, random weights of seed {TINY_SEED}"
TINY_NOTE = "tiny is untrained: its pictures are noise, good for trying out a run and nothing else"

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
PROMPT_TOKENS = 77
VOCABULARY_SIZE = 4096  # fixed, so that the random weights do not depend on the prompts
TEXT_WIDTH, TEXT_2_WIDTH, POOLED_WIDTH = 32, 64, 64
SIZE_WIDTH = 16  # of each of the six numbers of the size conditioning


def build_tiny_pipeline(texts: Iterable[str]) -> StableDiffusionXLPipeline:
    """The pipeline in float32 on the CPU, with tokenizers that know the words of ``texts``.

    The same texts in any order give the same pipeline. Hand in the prompts of every data set, so
    that a prompt's tokens do not depend on which set is run. Torch's global rng is left alone.
    """
    token_ids, merges = train_tokenizer(texts)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(TINY_SEED)
        pipe = StableDiffusionXLPipeline(
            vae=_vae(),
            text_encoder=CLIPTextModel(_text_config(TEXT_WIDTH, token_ids)),
            text_encoder_2=CLIPTextModelWithProjection(_text_config(TEXT_2_WIDTH, token_ids)),
            tokenizer=_tokenizer(token_ids, merges, pad_token=EOS),
            tokenizer_2=_tokenizer(token_ids, merges, pad_token="!"),
            unet=_unet(),
            scheduler=_noise_scheduler(),
            add_watermarker=False,
        )
    for network in (pipe.vae, pipe.text_encoder, pipe.text_encoder_2, pipe.unet):
        network.eval()
    return pipe


def train_tokenizer(texts: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's kind of byte-pair vocabulary, learnt from ``texts``: token ids, and merges by rank.

    As CLIP's it holds every byte, so it reads any other text too, in more tokens. The trainer is
    given all single symbols as special tokens: left to itself it numbers them in the order of a
    hash table, and so breaks ties between merges in another way in each process.
    """
    alphabet = sorted(ByteLevel.alphabet())
    trainer = BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[*alphabet, *(f"{symbol}</w>" for symbol in alphabet), BOS, EOS],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend = CLIPTokenizer().backend_tokenizer  # splits words and lowers capitals as CLIP does
    backend.train_from_iterator(sorted(set(texts)), trainer)
    model = json.loads(backend.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def _tokenizer(
    token_ids: dict[str, int], merges: list[tuple[str, str]], pad_token: str
) -> CLIPTokenizer:
    return CLIPTokenizer(
        token_ids,
        merges,  # type: ignore[arg-type]  # annotated as strings, but pairs is what it takes
        pad_token=pad_token,
        model_max_length=PROMPT_TOKENS,
    )


def _text_config(width: int, token_ids: dict[str, int]) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=POOLED_WIDTH,
        max_position_embeddings=PROMPT_TOKENS,
        bos_token_id=token_ids[BOS],
        eos_token_id=token_ids[EOS],
        pad_token_id=token_ids[EOS],
        initializer_factor=3.0,  # at 1.0 the prompt moves no pixel by more than 4 percent
    )


def _unet() -> UNet2DConditionModel:
    """0.11 GFLOP an image at 32 pixels; the two inner levels read the prompt."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=(2, 2, 4),  # diffusers' name for the number of heads
        use_linear_projection=True,
        cross_attention_dim=TEXT_WIDTH + TEXT_2_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=SIZE_WIDTH,
        projection_class_embeddings_input_dim=POOLED_WIDTH + 6 * SIZE_WIDTH,
    )


def _vae() -> AutoencoderKL:
    """Two pixels a latent, and no attention, which would cost most of the decoding."""
    return AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=32,
        force_upcast=False,
    )


def _noise_scheduler() -> EulerDiscreteScheduler:
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
