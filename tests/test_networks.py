import pytest
import torch

from challenge.evaluation.networks import NETWORKS, new_network
from challenge.spec import CIFAR100, TINYIMAGENET, DatasetSpec, NetworkName

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "spec", "parameters"),
    [
        ("convnet3", CIFAR100, 504_420),
        ("convnet3", TINYIMAGENET, 1_938_120),
        # a block of depth 4: 128 x 128 x 9 + 128 + 2 x 128 more, a quarter of the classifier's rows
        ("convnet4", CIFAR100, 504_420 + 147_840 - 100 * 128 * (16 - 4)),
        # torchvision's resnet18 of 100 classes has 11,227,812, of them 9,408 in its 7x7 stem, for
        # which a 3x3 one has 1,728; an instance norm has as many as a batch norm
        ("resnet18", CIFAR100, 11_227_812 - 9_408 + 1_728),
        # by hand: stem 1,856; stages 73,984 + 230,144 + 919,040 + 3,673,088; linear 51,300
        ("resnetap10", CIFAR100, 1_856 + 73_984 + 230_144 + 919_040 + 3_673_088 + 51_300),
    ],
)
def test_each_network_has_the_parameters_of_its_source(
    name: NetworkName, spec: DatasetSpec, parameters: int
) -> None:
    network = new_network(name, spec, 0, CPU)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("spec", [CIFAR100, TINYIMAGENET])
def test_each_network_reads_both_image_sizes(name: NetworkName, spec: DatasetSpec) -> None:
    logits = new_network(name, spec, 0, CPU)(torch.randn(2, *spec.image_shape))
    assert logits.shape == (2, spec.num_classes)


def test_the_seed_alone_makes_the_network() -> None:
    weights = []
    for global_seed, seed in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(global_seed)
        weights.append(new_network("resnetap10", CIFAR100, seed, CPU).state_dict()["stem.0.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
