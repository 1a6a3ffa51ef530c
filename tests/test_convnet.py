from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from challenge.evaluation.convnet import ConvNet
from challenge.evaluation.training import ChunkedRound, RoundRng, new_optimizer
from challenge.spec import CIFAR100, TINYIMAGENET, DatasetSpec


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    """Logits and losses of the official network and optimizer; made with the official code."""
    with np.load(Path(__file__).parent / "data" / "reference_evaluator_32.npz") as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


@pytest.fixture
def reference_network() -> ConvNet:
    """The network with the golden file's weights: parameter i is a sine with phase i.

    0.1 sin(0.7 k + i) at place k, half of that in the weights of convolutions and of the linear
    layer, and 1 more in the weights of the norm. Found from the golden logits, which then agree.
    """
    network = ConvNet(num_classes=100, image_size=32)
    with torch.no_grad():
        for index, (name, parameter) in enumerate(network.named_parameters()):
            places = torch.arange(parameter.numel(), dtype=torch.float64).view(parameter.shape)
            values = 0.1 * torch.sin(0.7 * places + index)
            if name.endswith("weight"):
                values = values + 1 if parameter.ndim == 1 else values / 2
            parameter.copy_(values)
    return network


@pytest.mark.parametrize(("spec", "parameters"), [(CIFAR100, 504_420), (TINYIMAGENET, 1_938_120)])
def test_has_as_many_parameters_as_the_official_network(spec: DatasetSpec, parameters: int) -> None:
    network = ConvNet(spec.num_classes, spec.image_size)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_state_has_the_official_names() -> None:
    names = list(ConvNet(num_classes=100, image_size=32).state_dict())
    blocks = [f"features.{place}" for place in (0, 1, 4, 5, 8, 9)]
    layers = [*blocks, "classifier"]
    assert names == [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]


def test_starts_from_torchs_default_initialisation() -> None:
    torch.manual_seed(5)
    first = nn.Conv2d(3, 128, kernel_size=3, padding=1)
    torch.manual_seed(5)
    network = ConvNet(num_classes=100, image_size=32)
    assert torch.equal(network.state_dict()["features.0.weight"], first.weight)
    limit = 2048**-0.5  # torch's Linear: uniform within 1/sqrt(inputs)
    assert limit * 0.99 < float(network.classifier.weight.detach().abs().max()) <= limit


def test_logits_are_the_official_ones(
    golden: dict[str, Tensor], reference_network: ConvNet
) -> None:
    logits = reference_network(golden["x32"])
    torch.testing.assert_close(logits, golden["convnet32.logits"], atol=2e-6, rtol=0)


def test_losses_are_the_official_ones_across_the_new_optimizer(
    golden: dict[str, Tensor], reference_network: ConvNet
) -> None:
    images, labels = golden["x32"], golden["convnet32.labels"]
    losses = []
    rng = RoundRng.of(0, CIFAR100, 0, torch.device("cpu"))
    chunked = ChunkedRound(reference_network, rng)
    optimizer = new_optimizer(reference_network.parameters(), dropped=False)
    with chunked.pool() as pool:
        for step in range(12):
            if step == 8:
                optimizer = new_optimizer(reference_network.parameters(), dropped=True)
            losses.append(float(chunked.step(optimizer, images, labels, pool)))
    expected = golden["convnet32.sgd_losses"].tolist()
    assert losses == pytest.approx(expected, abs=3e-6)
    logits = reference_network(images)
    torch.testing.assert_close(logits, golden["convnet32.logits_after"], atol=1e-4, rtol=0)


def test_an_image_does_not_see_its_neighbours_in_the_batch(golden: dict[str, Tensor]) -> None:
    network = ConvNet(num_classes=100, image_size=32)
    together = network(golden["x32"])
    alone = torch.cat([network(image[None]) for image in golden["x32"]])
    torch.testing.assert_close(together, alone)
