from dataclasses import replace
from pathlib import Path

import torch
from small_training import CLASSES, small_checkpoints, small_data

from challenge.embedded_training.feature_network import FeatureNetwork, freeze
from challenge.embedded_training.feature_training import (
    FeatureTraining,
    take_over_layers,
    validation_accuracy,
)
from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.training_images import TrainingImages

CPU = torch.device("cpu")


def coloured(real: TrainingImages) -> TrainingImages:
    """The random images with a colour for each class, so that they can be told."""
    train, validation = real.train.clone(), real.validation.clone()
    for part in (train, validation):
        for label in range(CLASSES):
            part[label, :, label] = 250
    return replace(real, train=train, validation=validation)


def test_it_learns_to_tell_colours_and_is_measured_on_other_images(tmp_path: Path) -> None:
    real = coloured(small_data()[0])
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    latents = PatchLatents.fit([real.train.flatten(0, 1)], rng)
    training = FeatureTraining(real, latents, 20, start=None, rng=rng, device=CPU)
    small_checkpoints(tmp_path).run(training, 20, tmp_path / "checkpoint.pt")
    assert validation_accuracy(training.network, real, latents, CPU) == 1
    untrained = FeatureNetwork(real.spec)
    assert validation_accuracy(untrained, real, latents, CPU) < 1


def test_features_have_sixteen_places_at_both_image_sizes() -> None:
    for real, side in zip(small_data(), (8, 16), strict=True):
        features = freeze(FeatureNetwork(real.spec)).features(
            torch.zeros(2, 12, side, side, dtype=torch.bfloat16)
        )
        assert features.latents.shape == (2, 12, side, side)
        assert features.middle.shape == (2, 16, 128)
        assert features.last.shape == (2, 16, 256)


def test_another_networks_layers_are_taken_over_but_not_its_classes() -> None:
    small, large = (FeatureNetwork(real.spec) for real in small_data())
    before = large.classifier.weight.clone()
    take_over_layers(large, small)
    assert torch.equal(large.stem.weight, small.stem.weight)
    assert torch.equal(
        large.state_dict()["late.1.conv2.weight"], small.state_dict()["late.1.conv2.weight"]
    )
    assert torch.equal(large.classifier.weight, before)


def test_a_frozen_network_has_no_gradient_of_its_own() -> None:
    network = freeze(FeatureNetwork(small_data()[0].spec))
    latents = torch.zeros(1, 12, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    network(latents).float().sum().backward()
    assert latents.grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())
