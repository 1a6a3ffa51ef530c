"""A small residual network on latents: the judge of what the UNet makes.

Trained to classify the real images of one data set (on noisy latents too, so that its gradients
point along what is seen in a picture), then frozen. Made and real images are compared in what its
layers say of them, at three depths.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from challenge.embedded_training.master_weights import channels_last
from challenge.generators.tiny_networks import LATENT_CHANNELS, LATENT_PIXELS
from challenge.spec import DatasetSpec

WIDTHS = (128, 256)


class Features(NamedTuple):
    """What is compared: the latents themselves, and 16 places of the layers half-way and last."""

    latents: Float[Tensor, "B latent h w"]
    middle: Float[Tensor, "B 16 128"]
    last: Float[Tensor, "B 16 256"]


class FeatureNetwork(nn.Module):
    """Two blocks at the latents' size, then halvings down to 4x4: one for 32 pixels, two for 64."""

    def __init__(self, spec: DatasetSpec) -> None:
        super().__init__()
        narrow, wide = WIDTHS
        self.stem = nn.Conv2d(LATENT_CHANNELS, narrow, 3, padding=1)
        self.early = nn.Sequential(Block(narrow, narrow), Block(narrow, narrow))
        late = [Block(narrow, wide, stride=2), Block(wide, wide)]
        if spec.image_size // LATENT_PIXELS > 8:
            late.append(Block(wide, wide, stride=2))
        self.late = nn.Sequential(*late)
        self.classifier = nn.Linear(wide, spec.num_classes)

    def features(self, latents: Float[Tensor, "B latent h w"]) -> Features:
        """What the layers say of ``latents``."""
        middle = self.early(F.relu(self.stem(latents)))
        last = self.late(middle)
        return Features(latents, _places(F.adaptive_avg_pool2d(middle, 4)), _places(last))

    def classify(self, features: Features) -> Float[Tensor, "B classes"]:
        """Logits of the classes."""
        logits: Tensor = self.classifier(features.last.mean(1))
        return logits

    def forward(self, latents: Float[Tensor, "B latent h w"]) -> Float[Tensor, "B classes"]:
        """Logits of the classes."""
        return self.classify(self.features(latents))


class Block(nn.Module):
    """Two convolutions and a way around them; a stride of 2 halves height and width."""

    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)  # frozen, it costs a multiplication
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.around: nn.Module = nn.Identity()
        if stride > 1 or channels != out_channels:
            self.around = nn.Sequential(
                nn.AvgPool2d(stride), nn.Conv2d(channels, out_channels, 1, bias=False)
            )

    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D hh ww"]:
        """The block's own maps added to those that went around it."""
        inner = F.relu(self.norm1(self.conv1(maps)))
        summed: Tensor = self.norm2(self.conv2(inner)) + self.around(maps)
        return F.relu(summed)


def _places(maps: Float[Tensor, "B C 4 4"]) -> Float[Tensor, "B 16 C"]:
    return maps.flatten(2).transpose(1, 2)


def freeze(network: FeatureNetwork) -> FeatureNetwork:
    """The network as it is used as a judge: bfloat16, its norms fixed, no gradient of its own."""
    network.eval().requires_grad_(False).to(torch.bfloat16)
    channels_last(network)
    return network
