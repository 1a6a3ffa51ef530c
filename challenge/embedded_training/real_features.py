"""What the feature network says of every real image, kept: it is compared with in every step.

A step compares 128 made images with 384 real ones. Run anew, those would cost a fifth of the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from challenge.embedded_training.feature_network import FeatureNetwork, Features
from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.topics import Topic
from challenge.embedded_training.training_images import TrainingImages


@dataclass(frozen=True)
class RealFeatures:
    """Features of each training image and of its mirror image, by class, in bfloat16.

    14 KB an image of CIFAR-100, 18 KB one of Tiny-ImageNet;
    1.3 GB of the first's 45,000 or of 36,000 of the second.
    """

    by_class: Features  # each tensor with classes and images before its own dimensions

    @classmethod
    def of(
        cls,
        real: TrainingImages,
        network: FeatureNetwork,
        latents: PatchLatents,
        device: torch.device,
    ) -> "RealFeatures":
        """Run the frozen network over all of them, a class at a time."""
        filled: list[Tensor] = []
        for index, images in enumerate(real.train):
            z = latents.encode(torch.cat([images, images.flip(3)]))
            found = run_frozen(network, z.to(device))
            filled = filled or [part.new_empty(len(real.train), *part.shape) for part in found]
            for whole, part in zip(filled, found, strict=True):
                whole[index] = part
        return cls(Features(*filled))

    def draw(self, topics: Sequence[Topic], count: int, rng: torch.Generator) -> Features:
        """``count`` of each of these topics, drawn with repeats, topic after topic."""
        images = self.by_class.latents.shape[1] // 2
        places = torch.stack([_draw(topic.images, images, count, rng) for topic in topics])
        rows = torch.tensor([topic.label for topic in topics])[:, None]
        return Features(*(part[rows, places].flatten(0, 1) for part in self.by_class))


def _draw(
    among: Int64[Tensor, " N"], images: int, count: int, rng: torch.Generator
) -> Int64[Tensor, " count"]:
    """Places of some images and of mirror images, which come after all images of a class."""
    drawn = among[torch.randint(len(among), (count,), generator=rng)]
    return drawn + images * torch.randint(2, (count,), generator=rng)


@torch.no_grad()
def run_frozen(network: FeatureNetwork, latents: Tensor) -> Features:
    """Features of latents, in bfloat16, without a gradient."""
    return network.features(latents.to(torch.bfloat16, memory_format=torch.channels_last))
