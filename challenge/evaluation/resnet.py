"""The ResNets on which distilled sets are tried for transfer, with instance norm as the ConvNet.

``ResNet18`` is that of VICO-UoE/DatasetCondensation (networks.py, ResNet18: 3x3 stem, no pooling
after it, widths 64 to 512, BasicBlock [2, 2, 2, 2], norm 'instancenorm'). ``ResNetAP10`` is that of
snu-mllab/Efficient-Dataset-Condensation (models/resnet_ap.py, depth 10, norm 'instance', size up to
64): one block a stage, average pooling where a ResNet has a stride. Both end in a mean over the
whole map, which at 32 px is the 4x4 pooling of the first source and makes 64 px possible.
"""

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from challenge.evaluation.layers import Conv, HalvingMean, instance_norm

WIDTHS = (64, 128, 256, 512)


class ResNet(nn.Module):
    """Four stages of ``blocks_per_stage`` blocks; all but the first halve the map."""

    def __init__(self, num_classes: int, blocks_per_stage: int, *, average_pooling: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            Conv(3, WIDTHS[0], 3, padding=1, bias=False), instance_norm(WIDTHS[0]), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        channels = WIDTHS[0]
        for stage, width in enumerate(WIDTHS):
            for place in range(blocks_per_stage):
                halve = stage > 0 and place == 0
                blocks.append(Block(channels, width, halve=halve, average_pooling=average_pooling))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B classes"]:
        """Logits of normalised images."""
        maps = self.blocks(self.stem(images))
        logits: Tensor = self.classifier(maps.mean(dim=(2, 3)))
        return logits


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; halves by a stride, or by average pooling."""

    def __init__(self, channels: int, width: int, *, halve: bool, average_pooling: bool) -> None:
        super().__init__()
        stride = 2 if halve and not average_pooling else 1
        pool = [HalvingMean()] if halve and average_pooling else []
        self.residual = nn.Sequential(
            Conv(channels, width, 3, stride=stride, padding=1, bias=False),
            instance_norm(width),
            nn.ReLU(),
            *pool,
            Conv(width, width, 3, padding=1, bias=False),
            instance_norm(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if halve or channels != width:
            self.shortcut = nn.Sequential(
                Conv(channels, width, 1, stride=stride, bias=False), *pool, instance_norm(width)
            )

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K h w"]:
        """ReLU of the sum."""
        return F.relu(self.residual(maps) + self.shortcut(maps))


def resnet18(num_classes: int) -> ResNet:
    """Torch's default initialisation, as its source."""
    return ResNet(num_classes, 2, average_pooling=False)


def resnet_ap10(num_classes: int) -> ResNet:
    """Convolutions start from a normal of variance 2 / (k * k * channels out), as its source."""
    network = ResNet(num_classes, 1, average_pooling=True)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    return network
