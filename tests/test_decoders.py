import pytest
import torch
from diffusers import AutoencoderTiny
from pipelines import IMAGE_SIZE, PROMPTS, one_step_generator, small_pipeline
from torch import Tensor, nn

from challenge.errors import WeightsError
from challenge.generators import decoders
from challenge.generators.decoders import (
    ThumbnailDecoder,
    ThumbnailHead,
    TinyVaeDecoder,
    VaeDecoder,
    check_latents,
    thumbnail_ratio,
)

SEEDS = [0, 1, 2, 3, 4]


def small_taesd(latent_channels: int = 4) -> AutoencoderTiny:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        return AutoencoderTiny(
            latent_channels=latent_channels,
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 1, 1),
        ).eval()


@pytest.mark.parametrize(
    ("latent_size", "target_size", "factor", "ratio"),
    [
        (64, 32, 8, 1),  # SDXL-Turbo at 512 pixels: a thumbnail of 64
        (64, 64, 8, 2),
        (48, 64, 8, 3),  # at 384 pixels: 144, the first whole multiple from 128 on
        (32, 64, 8, 4),
        (128, 32, 8, 1),  # at 1024 pixels: never fewer pixels than latents
        (8, 32, 4, 4),  # the embedded model: its full image, which is the target
    ],
)
def test_a_thumbnail_has_twice_the_targets_side_or_the_full_images(
    latent_size: int, target_size: int, factor: int, ratio: int
) -> None:
    assert thumbnail_ratio(latent_size, target_size, factor) == ratio


def test_a_new_correction_changes_nothing() -> None:
    latents = torch.randn(2, 4, 6, 6)
    head = ThumbnailHead(channels=4, ratio=2)
    nn.init.constant_(head.linear.weight, 0.01)
    expected = nn.functional.pixel_shuffle(head.linear(latents), 2)
    assert torch.equal(head(latents), expected)
    assert expected.shape == (2, 3, 12, 12)


def test_at_the_edge_a_flat_picture_stays_flat() -> None:
    head = ThumbnailHead(channels=4, ratio=1, blocks=0)
    pixels = ThumbnailDecoder(head).decode(torch.full((1, 4, 8, 8), 0.7))
    assert torch.allclose(pixels, pixels[..., 4:5, 4:5].expand_as(pixels))


def test_thumbnails_lie_between_black_and_white() -> None:
    decoder = ThumbnailDecoder(ThumbnailHead(channels=4, ratio=2, blocks=0))
    pixels = decoder.decode(100 * torch.randn(3, 4, 8, 8))
    assert decoder.name == "linear"
    assert decoder.image_size(8) == pixels.shape[-1] == 16
    assert pixels.amin() == 0
    assert pixels.amax() == 1


def test_the_small_decoder_of_others_takes_the_latents_as_they_are() -> None:
    vae = small_taesd()
    latents = 0.5 * torch.randn(2, 4, 8, 8)
    pixels = TinyVaeDecoder(vae).decode(latents)
    layers = vae.decoder.layers(torch.tanh(latents / 3) * 3)  # its own output lies in [0, 1]
    assert torch.allclose(pixels, layers.clamp(0, 1), atol=1e-6)
    assert TinyVaeDecoder(vae).image_size(8) == pixels.shape[-1] == 32


def test_a_small_decoder_for_other_latents_is_refused() -> None:
    check_latents(small_taesd(4), 4, "taesdxl")
    with pytest.raises(WeightsError, match=r"taesdxl decodes latents of 16 channels.*have 4; give"):
        check_latents(small_taesd(16), 4, "taesdxl")


def test_a_generator_makes_the_images_of_a_target_by_the_decoder_given_for_it() -> None:
    generator = one_step_generator(small_pipeline())
    full = generator.generate(PROMPTS, SEEDS, IMAGE_SIZE)
    head = ThumbnailDecoder(ThumbnailHead(channels=4, ratio=2))

    generator.use_decoder(8, head)

    assert generator.image_size(8) == 16
    assert generator.image_size(32) == 32  # as before
    latents = generator.denoise(PROMPTS, generator.draw_noise(SEEDS, IMAGE_SIZE))
    assert torch.equal(generator.generate(PROMPTS, SEEDS, 16), head.decode(latents))
    assert torch.equal(generator.generate(PROMPTS, SEEDS, IMAGE_SIZE), full)
    assert generator.description.decoder == head.identity
    assert head.identity.startswith("thumbnail ")


def test_a_decoder_may_be_given_latents_of_another_resolution() -> None:
    generator = one_step_generator(small_pipeline())
    generator.use_decoder(8, ThumbnailDecoder(ThumbnailHead(channels=4, ratio=1)), resolution=48)
    assert generator.image_size(8) == 12
    assert generator.generate(PROMPTS, SEEDS, 12).shape == (5, 3, 12, 12)


def test_a_float16_vae_that_overflows_works_in_bfloat16() -> None:
    vae = small_pipeline().vae.to(torch.float16)
    assert VaeDecoder(vae).decode(torch.randn(1, 4, 8, 8)).dtype == torch.float32
    assert vae.dtype == torch.bfloat16


def test_a_vae_decodes_few_large_images_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    vae, latents = small_pipeline().vae, torch.randn(5, 4, 8, 8)
    whole = VaeDecoder(vae).decode(latents)
    sizes, decode = list[int](), vae.decode

    def noting(some: Tensor, **options: object) -> tuple[Tensor, ...]:
        sizes.append(len(some))
        made: tuple[Tensor, ...] = decode(some, **options)
        return made

    monkeypatch.setattr(vae, "decode", noting)
    monkeypatch.setattr(decoders, "MOST_PIXELS", 2 * 32 * 32 + 31)
    torch.testing.assert_close(VaeDecoder(vae).decode(latents), whole)
    assert sizes == [2, 2, 1]
    sizes.clear()
    monkeypatch.setattr(decoders, "MOST_PIXELS", 1)
    VaeDecoder(vae).decode(latents)
    assert sizes == [1] * 5
