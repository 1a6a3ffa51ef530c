import torch

from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.training_images import to_signed
from challenge.generators.tiny_networks import LATENT_CHANNELS


def smooth_images(count: int, size: int, seed: int) -> torch.Tensor:
    """Images without fine detail, as a photograph's squares of 4x4 pixels are."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, size // 8, size // 8, generator=rng)
    images = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return (images * 255).to(torch.uint8)


def fitted() -> PatchLatents:
    data = [smooth_images(40, 32, 0), smooth_images(20, 64, 1)]
    return PatchLatents.fit(data, torch.Generator().manual_seed(0))


def test_latents_have_unit_variance_and_no_correlation() -> None:
    latents = fitted().encode(smooth_images(200, 32, 2))
    assert latents.shape == (200, LATENT_CHANNELS, 8, 8)
    covariance = torch.cov(latents.transpose(0, 1).flatten(1))
    assert (covariance.diag() - 1).abs().max() < 0.5
    assert (covariance - covariance.diag().diag()).abs().max() < 0.2


def test_smooth_images_come_back_from_their_latents() -> None:
    images = smooth_images(50, 64, 3)
    latents = fitted()
    error = latents.decode(latents.encode(images)) - to_signed(images)
    assert error.square().mean().sqrt() < 0.02


def test_the_saved_tensors_give_the_same_map() -> None:
    latents, images = fitted(), smooth_images(2, 32, 4)
    again = PatchLatents(**latents.state())
    assert torch.equal(again.encode(images), latents.encode(images))
