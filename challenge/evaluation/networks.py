"""The networks that ``--network`` names: ``convnet3``, the challenge's, and three for transfer.

Depth 3 is official at both sizes; papers take depth 4 for 64 px (DATM, DC-Bench).
"""

from collections.abc import Callable

import torch
from torch import nn

from challenge.evaluation.convnet import ConvNet
from challenge.evaluation.resnet import resnet18, resnet_ap10
from challenge.spec import DatasetSpec, NetworkName

NETWORKS: dict[NetworkName, Callable[[DatasetSpec], nn.Module]] = {
    "convnet3": lambda spec: ConvNet(spec.num_classes, spec.image_size),
    "convnet4": lambda spec: ConvNet(spec.num_classes, spec.image_size, depth=4),
    "resnet18": lambda spec: resnet18(spec.num_classes),
    "resnetap10": lambda spec: resnet_ap10(spec.num_classes),
}


def new_network(name: NetworkName, spec: DatasetSpec, seed: int, device: torch.device) -> nn.Module:
    """A network as its source initialises it, drawn from ``seed`` and nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return NETWORKS[name](spec).to(device)
