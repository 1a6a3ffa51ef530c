"""Train a feature network on the real images of one data set."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F

from challenge.embedded_training.feature_network import FeatureNetwork
from challenge.embedded_training.master_weights import channels_last
from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.training_images import (
    TrainingImages,
    labels_of,
    mirror_half,
    shift,
)
from challenge.embedded_training.training_log import TrainingLog

BATCH = 128
PEAK_LEARNING_RATE = 0.2
MOST_NOISE = 0.6  # standard deviation; a quarter of the images get none
LABEL_SMOOTHING = 0.1


def train_feature_network(
    real: TrainingImages,
    latents: PatchLatents,
    steps: int,
    *,
    start: FeatureNetwork | None,
    rng: torch.Generator,
    device: torch.device,
    log: TrainingLog,
) -> FeatureNetwork:
    """SGD with one rise and fall of the learning rate; mirrored, shifted, noisy images.

    ``start`` is another data set's network, whose layers are taken over as far as they go.
    """
    network = FeatureNetwork(real.spec).to(device)
    channels_last(network)
    if start is not None:
        take_over_layers(network, start)
    optimizer = torch.optim.SGD(
        network.parameters(), PEAK_LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=max(steps, 10), pct_start=0.2
    )
    images, labels = real.train.flatten(0, 1), labels_of(real.train)
    batches = _batches(len(images), rng)
    for step in range(steps):
        batch = next(batches)
        pixels = shift(mirror_half(images[batch], rng), real.spec.image_size // 10, rng)
        z = latents.encode(pixels)
        deviation = torch.rand(len(z), 1, 1, 1, generator=rng) * MOST_NOISE * 4 / 3 - MOST_NOISE / 3
        z = (z + torch.randn(z.shape, generator=rng) * deviation.clamp(min=0)).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(z.to(memory_format=torch.channels_last))
        loss = F.cross_entropy(
            logits.float(), labels[batch].to(device), label_smoothing=LABEL_SMOOTHING
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        log.tell(step + 1, steps, loss=float(loss.detach()))
    log.result(validation_accuracy=validation_accuracy(network, real, latents, device))
    return network


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


def _batches(images: int, rng: torch.Generator) -> Iterator[torch.Tensor]:
    """Epochs without end in a new random order each; an incomplete last batch is left out."""
    size = min(BATCH, images)
    while True:
        order = torch.randperm(images, generator=rng)
        yield from torch.split(order[: images - images % size], size)
