import math

import pytest
import torch
from pipelines import PROMPTS, one_step_generator, small_pipeline
from torch import Tensor

from challenge.generators.decoder_fitting import (
    Fidelity,
    FitReport,
    Pairs,
    crop,
    fit_decoder,
    fit_linear,
    make_pairs,
    measure_fidelity,
    psnr_db,
    ssim,
    train_correction,
)
from challenge.generators.decoders import ThumbnailHead
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.images import shrink


class CountingClock:
    """A second passes with each look."""

    def __init__(self) -> None:
        self.now_s = -1.0

    def __call__(self) -> float:
        self.now_s += 1
        return self.now_s


@pytest.fixture(scope="module")
def generator() -> OneStepGenerator:
    return one_step_generator(small_pipeline())


def random_pairs(ratio: int, wanted: ThumbnailHead | None = None) -> Pairs:
    """Pairs whose pictures a known head makes."""
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(40, 4, 6, 6, generator=rng)
    head = wanted or ThumbnailHead(4, ratio, blocks=0)
    with torch.no_grad():
        pictures = head(latents)
    views = {6: (shrink(pictures[:8], 6), shrink(crop(pictures[:8]), 6))}
    return Pairs(latents[8:], pictures[8:], latents[:8], views)


def test_the_closed_form_finds_the_convolution_that_made_the_pictures() -> None:
    wanted = ThumbnailHead(4, 2, blocks=0)
    pairs = random_pairs(2, wanted)
    found = ThumbnailHead(4, 2, blocks=0)

    fit_linear(found, pairs.latents, pairs.pictures)

    assert torch.allclose(found.linear.weight, wanted.linear.weight, atol=1e-3)
    assert found.linear.bias is not None
    assert wanted.linear.bias is not None
    assert torch.allclose(found.linear.bias, wanted.linear.bias, atol=1e-3)


def test_training_lowers_the_error_where_no_convolution_can() -> None:
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(32, 4, 6, 6, generator=rng)
    pairs = Pairs(latents, latents[:, :3].tanh().abs(), latents, {})
    head = ThumbnailHead(4, 1, width=16, blocks=1)
    fit_linear(head, latents, pairs.pictures)

    def error() -> float:
        with torch.no_grad():
            return float((head(latents) - pairs.pictures).square().mean())

    before = error()
    steps = train_correction(head, pairs, budget_s=120.0, clock=CountingClock())
    assert steps == 119  # the clock was looked at once before
    assert error() < 0.7 * before


def test_pairs_are_what_the_vae_makes_of_the_same_latents(generator: OneStepGenerator) -> None:
    prompts, seeds = PROMPTS * 8, list(range(40))
    pairs = make_pairs(generator, prompts, seeds, resolution=32, ratio=2, targets=[8, 16])

    latents = generator.denoise(prompts[:5], generator.draw_noise(seeds[:5], 32))
    images = generator.vae_decoder.decode(latents)
    assert len(pairs.held_out_latents) == 16
    assert len(pairs.latents) == len(pairs.pictures) == 24
    assert torch.allclose(pairs.held_out_latents[:5], latents, atol=1e-4)
    whole, cropped = pairs.views[8]
    assert torch.allclose(whole[:5], shrink(images, 8), atol=1e-4)
    assert torch.allclose(cropped[:5], shrink(images[..., 4:28, 4:28], 8), atol=1e-4)
    assert pairs.pictures.shape == (24, 3, 16, 16)


def test_a_fit_says_what_it_reached_on_images_it_has_not_seen(generator: OneStepGenerator) -> None:
    prompts, seeds = PROMPTS * 8, list(range(40))
    head, report = fit_decoder(
        "linear", generator, prompts, seeds, [8], budget_s=0.0, clock=CountingClock()
    )
    pairs = make_pairs(generator, prompts, seeds, resolution=32, ratio=2, targets=[8])
    assert report.fidelity == {8: measure_fidelity(head, pairs, 8)}
    assert (report.pairs, report.steps, report.pairs_s, report.train_s) == (40, 0, 1, 1)
    assert head.correction is None
    untrained = ThumbnailHead(4, 2, blocks=0)
    assert measure_fidelity(untrained, pairs, 8).psnr_db < report.fidelity[8].psnr_db - 3


def test_a_thumbnail_head_has_a_correction_and_torchs_rng_is_left_alone(
    generator: OneStepGenerator,
) -> None:
    state = torch.get_rng_state()
    prompts, seeds = PROMPTS * 8, list(range(40))
    head, report = fit_decoder(
        "thumbnail", generator, prompts, seeds, [8], budget_s=4.0, clock=CountingClock()
    )
    assert head.correction is not None
    assert report.steps == 3
    assert torch.equal(torch.get_rng_state(), state)


def test_psnr_of_an_error_of_a_tenth_is_twenty_decibels() -> None:
    black = torch.zeros(2, 3, 8, 8)
    assert psnr_db(black + 0.1, black) == pytest.approx(20.0)
    assert psnr_db(black, black) == pytest.approx(100.0)
    mixed: Tensor = black.clone()
    mixed[1] += 0.1
    assert psnr_db(mixed, black) == pytest.approx(60.0)  # the mean of images, not of errors


def test_ssim_is_one_for_equal_images_and_low_for_noise() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    other = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert ssim(images, images) == pytest.approx(1.0)
    assert ssim(images, other) < 0.2


def test_a_fit_is_good_enough_when_every_size_is() -> None:
    good, poor = Fidelity(31.0, 0.9, 31.0, 0.9), Fidelity(29.9, 0.9, math.inf, 0.9)
    assert FitReport(8, 0, 1.0, 1.0, {32: good, 64: good}).good_enough
    assert not FitReport(8, 0, 1.0, 1.0, {32: good, 64: poor}).good_enough
