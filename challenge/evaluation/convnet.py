"""The network that the challenge trains: three blocks of convolution, norm, ReLU and pooling.

Parameter names, their order and initial values are those of the official utils/network.py (ConvNet
with net_width 128, net_depth 3, relu, instancenorm, avgpooling): 504,420 parameters for CIFAR-100,
1,938,120 for Tiny-ImageNet.
"""

from jaxtyping import Float
from torch import Tensor, nn

from challenge.evaluation.layers import Conv, HalvingMean, instance_norm
from challenge.spec import EVALUATOR


class ConvNet(nn.Module):
    """Width 128, torch's default initialisation; the official depth is 3 at every image size."""

    def __init__(self, num_classes: int, image_size: int, depth: int = EVALUATOR.depth) -> None:
        super().__init__()
        width = EVALUATOR.width
        layers: list[nn.Module] = []
        for channels in (3, *[width] * (depth - 1)):
            layers += [
                Conv(channels, width, kernel_size=3, padding=1),
                instance_norm(width),
                nn.ReLU(inplace=True),
                HalvingMean(),
            ]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * (image_size // 2**depth) ** 2, num_classes)

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B classes"]:
        """Logits of normalised images."""
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits
