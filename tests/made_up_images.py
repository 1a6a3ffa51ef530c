"""Made-up "real" training images of a few classes, with a top and a bottom, for the measures."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from challenge.spec import CIFAR100, DatasetSpec
from challenge.train_images import TrainImages

SPEC: DatasetSpec = replace(CIFAR100, num_classes=4, image_size=16)
PER_CLASS = 160


class MadeUpImages(TrainImages):
    """Each class has a colour above and another below, and an image its own texture and light."""

    def __init__(self, spec: DatasetSpec = SPEC, per_class: int = PER_CLASS) -> None:
        rng = torch.Generator().manual_seed(0)
        size = spec.image_size
        colours = torch.rand((spec.num_classes, 1, 3, 2, 1), generator=rng)
        layout = F.interpolate(
            colours.expand(-1, -1, -1, -1, 2).flatten(0, 1), size=(size, size), mode="bilinear"
        )[:, None]
        shape = (spec.num_classes, per_class)
        texture = torch.randn((*shape, 3, size, size), generator=rng) * 0.05
        blobs = torch.randn((*shape, 3, 4, 4), generator=rng) * 0.12
        smooth = F.interpolate(blobs.flatten(0, 1), size=(size, size), mode="bicubic")
        light = 0.7 + 0.6 * torch.rand((*shape, 1, 1, 1), generator=rng)
        pixels = (layout * light + smooth.view(*shape, 3, size, size) + texture) * 255
        self.by_class: Tensor = pixels.clamp(0, 255).to(torch.uint8)
        self.counts = (per_class,) * spec.num_classes

    def read(self, class_index: int, places: list[int]) -> Tensor:
        return self.by_class[class_index, places]
