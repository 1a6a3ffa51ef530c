from pathlib import Path

import torch
from small_training import small_checkpoints, small_data

from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.vae_training import (
    LOG_VARIANCE,
    VaeTraining,
    decoding_loss,
    encoding_loss,
)
from challenge.generators.tiny import load_tiny_pipeline
from challenge.generators.tiny_networks import build_vae

CPU = torch.device("cpu")


def test_training_changes_encoder_and_decoder_and_leaves_float32(tmp_path: Path) -> None:
    data = small_data()
    rng = torch.Generator().manual_seed(0)
    latents = PatchLatents.fit([real.train.flatten(0, 1) for real in data], rng)
    vae = build_vae()
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    training = VaeTraining(vae, data, latents, 2, rng=rng, device=CPU)
    small_checkpoints(tmp_path).run(training, 2, tmp_path / "checkpoint.pt")
    for name, tensor in vae.state_dict().items():
        assert tensor.dtype == torch.float32
        assert not torch.equal(tensor, before[name]), name


def test_a_perfect_reconstruction_costs_nothing() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert decoding_loss(images, images) == 0
    assert torch.allclose(decoding_loss(images + 0.5, images), torch.tensor(0.75))
    latents = torch.randn(2, 12, 2, 2)
    moments = torch.cat([latents, torch.full_like(latents, LOG_VARIANCE)], dim=1)
    assert encoding_loss(moments, latents) == 0
    assert encoding_loss(moments + 1, latents) > 1


def test_the_shipped_vae_gives_even_colours_back() -> None:
    vae = load_tiny_pipeline().vae
    colours = torch.tensor([[0.6, -0.2, -0.6], [-0.4, 0.1, 0.5], [0.0, 0.0, 0.0]])
    images = colours[:, :, None, None].expand(3, 3, 32, 32)
    with torch.no_grad():
        latents = vae.encode(images).latent_dist.mode()
        (decoded,) = vae.decode(latents, return_dict=False)
    assert (decoded - images).abs().mean() < 0.1
