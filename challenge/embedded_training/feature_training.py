"""Train a feature network on the real images of one data set."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from challenge.embedded_training.feature_network import FeatureNetwork
from challenge.embedded_training.master_weights import channels_last
from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.resumable import Resumable
from challenge.embedded_training.training_images import (
    TrainingImages,
    labels_of,
    mirror_half,
    shift,
)

BATCH = 128
PEAK_LEARNING_RATE = 0.2
MOST_NOISE = 0.6  # standard deviation; a quarter of the images get none
LABEL_SMOOTHING = 0.1


class FeatureTraining(Resumable):
    """SGD with one rise and fall of the learning rate; mirrored, shifted, noisy images.

    ``start`` is another data set's network, whose layers are taken over as far as they go.
    """

    def __init__(
        self,
        real: TrainingImages,
        latents: PatchLatents,
        steps: int,
        *,
        start: FeatureNetwork | None,
        rng: torch.Generator,
        device: torch.device,
    ) -> None:
        self.network = FeatureNetwork(real.spec).to(device)
        channels_last(self.network)
        if start is not None:
            take_over_layers(self.network, start)
        self._optimizer = torch.optim.SGD(
            self.network.parameters(),
            PEAK_LEARNING_RATE,
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, PEAK_LEARNING_RATE, total_steps=max(steps, 10), pct_start=0.2
        )
        self._images, self._labels = real.train.flatten(0, 1), labels_of(real.train)
        self._latents, self._device, self._rng = latents, device, rng
        self._most_shift = real.spec.image_size // 10
        self._coming = torch.empty(0, dtype=torch.long)  # images of this epoch, in random order
        self.steps_done = 0

    def step(self) -> dict[str, float]:
        """One batch."""
        images = self._next_batch()
        with torch.autocast(self._device.type, torch.bfloat16):
            logits = self.network(self._noisy_latents(images))
        loss = F.cross_entropy(
            logits.float(), self._labels[images].to(self._device), label_smoothing=LABEL_SMOOTHING
        )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        self.steps_done += 1
        return {"loss": float(loss.detach())}

    def _noisy_latents(self, images: Int64[Tensor, " B"]) -> Float[Tensor, "B latent h w"]:
        rng = self._rng
        pixels = shift(mirror_half(self._images[images], rng), self._most_shift, rng)
        z = self._latents.encode(pixels)
        deviation = torch.rand(len(z), 1, 1, 1, generator=rng) * MOST_NOISE * 4 / 3 - MOST_NOISE / 3
        noisy = z + torch.randn(z.shape, generator=rng) * deviation.clamp(min=0)
        return noisy.to(self._device, memory_format=torch.channels_last)

    def _next_batch(self) -> Int64[Tensor, " B"]:
        """Of epochs without end, in a new order each; an incomplete last batch is left out."""
        size = min(BATCH, len(self._images))
        if len(self._coming) < size:
            self._coming = torch.randperm(len(self._images), generator=self._rng)
        batch, self._coming = self._coming[:size], self._coming[size:]
        return batch

    def state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "rng": self._rng.get_state(),
            "coming": self._coming.clone(),
            "steps_done": self.steps_done,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._rng.set_state(state["rng"])
        self._coming, self.steps_done = state["coming"], state["steps_done"]


def take_over_layers(network: FeatureNetwork, start: FeatureNetwork) -> None:
    """Copy each tensor of ``start`` that has a place of its shape, all but the classifier's."""
    own = network.state_dict()
    theirs = {
        key: tensor
        for key, tensor in start.state_dict().items()
        if key in own and own[key].shape == tensor.shape and not key.startswith("classifier.")
    }
    network.load_state_dict(theirs, strict=False)


@torch.inference_mode()
def validation_accuracy(
    network: nn.Module, real: TrainingImages, latents: PatchLatents, device: torch.device
) -> float:
    """Share of the validation images that the network labels right."""
    network.eval()
    right = 0
    images, labels = real.validation.flatten(0, 1), labels_of(real.validation)
    for some, their_labels in zip(torch.split(images, 250), torch.split(labels, 250), strict=True):
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(latents.encode(some).to(device, memory_format=torch.channels_last))
        right += int((logits.argmax(1).cpu() == their_labels).sum())
    return right / len(images)
