"""Judges of pixels: what the challenge's own network sees in a window of 32 pixels.

The feature network looks at latents, squares of 4x4 pixels, and hardly minds whether neighbours fit
together; its pictures showed the squares. These networks look at what will be trained on. The
drifting loss compares the maps of made and real pictures after each of the three blocks. Trained on
CIFAR-100, they are used for both data sets: at 64 pixels on a window, which all pictures of a step
share, at the price of 32.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from challenge.embedded_training.drifting import by_class, compare_places
from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.training_images import TrainingImages, labels_of
from challenge.embedded_training.training_log import TrainingLog
from challenge.evaluation.classifier import Batches, TrainingPlan, new_convnet, train_classifier
from challenge.evaluation.convnet import ConvNet
from challenge.evaluation.dsa import augment_batch
from challenge.evaluation.training import RoundRng
from challenge.generators.tiny_networks import LATENT_PIXELS
from challenge.images import from_uint8
from challenge.spec import CIFAR100
from challenge.submission import normalize

JUDGES = 2
WINDOW = CIFAR100.image_size // LATENT_PIXELS  # in latents
LAYERS_PER_BLOCK = 4
AT_A_TIME = 16  # images, on a CPU: their maps stay in its cache
REAL_PER_CLASS = 24


def train_pixel_judge(
    real: TrainingImages, steps: int, *, seed: int, device: torch.device, log: TrainingLog
) -> ConvNet:
    """Train one of the networks on CIFAR-100's images under the evaluator's augmentations."""
    network = new_convnet(real.spec, seed, device)
    plan = TrainingPlan(steps=steps)
    batches = _batches(real, plan.batch, seed, device)
    chunked = device.type == "cpu"
    losses = train_classifier(network, batches, real.spec, device, plan, chunked=chunked)
    for step, loss in enumerate(losses, start=1):
        log.tell(step, steps, loss=loss)
    return network.eval()


def _batches(real: TrainingImages, size: int, seed: int, device: torch.device) -> Batches:
    images, labels = real.train.flatten(0, 1), labels_of(real.train)
    rng = torch.Generator().manual_seed(seed)
    of_round = RoundRng.of(seed, real.spec, 0, device)
    while True:
        drawn = torch.randint(len(images), (size,), generator=rng)
        batch = normalize(from_uint8(images[drawn].to(device)), real.spec)
        augmented = augment_batch(batch, of_round.tensors, of_round.strategies)
        yield augmented, labels[drawn].to(device)


@dataclass(frozen=True)
class PixelJudges:
    """The trained networks, frozen, and the map from latents to the pixels that they look at."""

    networks: Sequence[ConvNet]
    latents: PatchLatents

    def loss(
        self,
        made: Float[Tensor, "B latent h w"],
        real: Float[Tensor, "M latent h w"],
        classes: int,
        rng: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Drifting losses within each class, class after class, by one network drawn from ``rng``.

        Only the first 24 real pictures of each class are looked at.
        """
        network = self.networks[int(torch.randint(len(self.networks), (), generator=rng))]
        some = by_class(real, classes)[:, :REAL_PER_CLASS].flatten(0, 1)
        top, left = _window(made.shape[-1], rng)
        made_maps = self._maps(network, made[:, :, top : top + WINDOW, left : left + WINDOW])
        with torch.no_grad():
            real_maps = self._maps(network, some[:, :, top : top + WINDOW, left : left + WINDOW])
        losses = []
        for ours, theirs in zip(made_maps, real_maps, strict=True):
            losses += compare_places(ours, theirs, classes)
        return torch.stack(losses).sum()

    def _maps(
        self, network: ConvNet, latents: Float[Tensor, "B latent h w"]
    ) -> list[Float[Tensor, "B 16 128"]]:
        """Means over 4x4 places of the maps after each block."""
        chunk = AT_A_TIME if latents.device.type == "cpu" else len(latents)
        parts = [list(self._blocks(network, some)) for some in torch.split(latents.float(), chunk)]
        return [torch.cat(block) for block in zip(*parts, strict=True)]

    def _blocks(
        self, network: ConvNet, latents: Float[Tensor, "B latent h w"]
    ) -> Iterator[Float[Tensor, "B 16 128"]]:
        maps = normalize((self.latents.decode(latents) + 1) / 2, CIFAR100)
        with torch.autocast(latents.device.type, torch.bfloat16):
            for number, layer in enumerate(network.features, start=1):
                maps = layer(maps)
                if number % LAYERS_PER_BLOCK == 0:
                    yield F.adaptive_avg_pool2d(maps, 4).flatten(2).transpose(1, 2)


def _window(side: int, rng: torch.Generator) -> tuple[int, int]:
    top, left = torch.randint(side - WINDOW + 1, (2,), generator=rng).tolist()
    return top, left
