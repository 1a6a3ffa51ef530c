from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from pipelines import PROMPTS, one_step_generator, run_pipeline
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from challenge.generators.public_configs import SD_TURBO, SDXL_TURBO, PublicModel
from challenge.generators.random_weights import materialise, random_pipeline

CPU = torch.device("cpu")
# SDXL-Turbo with few channels and layers; every part is of its kind
SHRUNKEN = replace(
    SDXL_TURBO,
    unet={
        **SDXL_TURBO.unet,
        "sample_size": 8,
        "block_out_channels": (32, 64, 64),
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (1, 2, 2),
        "cross_attention_dim": 16 + 32,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 24 + 6 * 8,
    },
    vae={**SDXL_TURBO.vae, "block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
    text_encoders=tuple(
        {
            **config,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "projection_dim": 24,
        }
        for config, width in zip(SDXL_TURBO.text_encoders, (16, 32), strict=True)
    ),
)
SHRUNKEN_SD = replace(
    SD_TURBO,
    unet={
        "sample_size": 8,
        "block_out_channels": (32, 32, 32, 32),
        "attention_head_dim": 2,
        "cross_attention_dim": 16,
    },
    vae=SHRUNKEN.vae,
    text_encoders=SHRUNKEN.text_encoders[:1],
)


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    with torch.device("meta"):
        network: nn.Module = UNet2DConditionModel(**SDXL_TURBO.unet)
    return network


@pytest.fixture(scope="module")
def vae() -> nn.Module:
    with torch.device("meta"):
        network: nn.Module = AutoencoderKL(**SDXL_TURBO.vae)
    return network


def test_the_networks_have_as_many_parameters_as_the_published_weights(
    unet: nn.Module, vae: nn.Module
) -> None:
    with torch.device("meta"):
        clip_l, clip_big_g = (CLIPTextConfig(**config) for config in SDXL_TURBO.text_encoders)
        encoders = CLIPTextModel(clip_l), CLIPTextModelWithProjection(clip_big_g)
        sd_turbo = UNet2DConditionModel(**SD_TURBO.unet)
        (clip_h,) = (CLIPTextModel(CLIPTextConfig(**each)) for each in SD_TURBO.text_encoders)
    assert parameters(unet) == 2_567_463_684
    assert parameters(vae) == 83_653_863
    assert [parameters(each) for each in encoders] == [123_060_480, 694_659_840]
    assert (parameters(sd_turbo), parameters(clip_h)) == (865_910_724, 340_387_840)


@pytest.mark.parametrize(("pixels", "tflop"), [(512, 1.589), (384, 0.905), (256, 0.428)])
def test_one_call_of_the_unet_costs_what_was_counted_before(
    unet: nn.Module, pixels: int, tflop: float
) -> None:
    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, device="meta")

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        unet(
            empty(1, 4, pixels // 8, pixels // 8),
            empty(),
            encoder_hidden_states=empty(1, 77, 2048),
            added_cond_kwargs={"text_embeds": empty(1, 1280), "time_ids": empty(1, 6)},
        )
    assert counter.get_total_flops() / 1e12 == pytest.approx(tflop, abs=5e-4)


@pytest.mark.parametrize(("pixels", "tflop"), [(512, 2.515), (256, 0.622)])
def test_the_decoder_costs_what_was_counted_before(
    vae: AutoencoderKL, pixels: int, tflop: float
) -> None:
    latents = torch.empty(1, 4, pixels // 8, pixels // 8, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        vae.decode(latents)
    assert counter.get_total_flops() / 1e12 == pytest.approx(tflop, abs=5e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_weight_is_filled_and_the_pictures_are_pictures(dtype: torch.dtype) -> None:
    pipe = random_pipeline(SHRUNKEN, CPU, dtype)
    for network in (pipe.unet, pipe.vae, pipe.text_encoder, pipe.text_encoder_2):
        for name, parameter in network.named_parameters():
            assert parameter.dtype == dtype
            assert parameter.count_nonzero() > 0.99 * parameter.numel(), name
            assert parameter.isfinite().all(), name
    generator = one_step_generator(pipe)
    images = generator.generate(PROMPTS[:2], [0, 1], 64)
    assert images.isfinite().all()
    assert 0.05 < images.std() < 0.5


def test_a_random_model_is_drawn_as_the_library_draws_it() -> None:
    pipe = random_pipeline(SHRUNKEN, CPU, torch.float32)
    pipe.set_progress_bar_config(disable=True)
    expected = run_pipeline(pipe, PROMPTS[:2], [0, 1], 64)
    assert torch.equal(one_step_generator(pipe).generate(PROMPTS[:2], [0, 1], 64), expected)


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    def first(seed: int) -> Tensor:
        weights: Tensor = random_pipeline(SHRUNKEN, CPU, torch.float32, seed).unet.conv_in.weight
        return weights

    assert torch.equal(first(3), first(3))
    assert not torch.equal(first(3), first(4))


def test_a_text_encoder_counts_its_tokens_and_reads_the_prompt_to_its_end() -> None:
    pipe = random_pipeline(SHRUNKEN, CPU, torch.float32)
    places = pipe.text_encoder.embeddings.position_ids
    assert places.tolist() == [list(range(77))]
    _, _, pooled, _ = pipe.encode_prompt(["a bear", "a boat"], do_classifier_free_guidance=False)
    assert not torch.equal(pooled[0], pooled[1])


def test_a_model_with_one_text_encoder_is_the_other_pipeline() -> None:
    pipe = random_pipeline(SHRUNKEN_SD, CPU, torch.float32)
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe, StableDiffusionPipeline)
    assert run_pipeline(pipe, PROMPTS[:1], [0], 128, "latent").shape == (1, 4, 16, 16)


def test_a_buffer_that_nobody_knows_how_to_fill_is_refused() -> None:
    with pytest.raises(ValueError, match="BatchNorm2d has a buffer running_mean"):
        materialise(lambda: nn.BatchNorm2d(3), CPU, torch.float32, torch.Generator())


def test_a_shrunken_model_differs_from_the_public_one_in_numbers_only() -> None:
    assert isinstance(SHRUNKEN, PublicModel)
    assert SHRUNKEN.unet.keys() == SDXL_TURBO.unet.keys()
    assert SHRUNKEN.vae.keys() == SDXL_TURBO.vae.keys()
