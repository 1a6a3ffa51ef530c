"""The loss that trains a one-step generator without an adversary: drifting.

Each made sample is told to go a little way towards the real samples that are near to it and away
from the other made ones near to it (Deng et al., Generative Modeling via Drifting, 2602.04770). The
two pulls cancel when made and real samples are equally distributed, so samples neither collapse nor
blur into the mean. Within one class, and in the spaces of several features at once.

Against a projected GAN on the same features, CIFAR-100, one shared core, a few minutes each: 168
steps of drifting gave images of which the feature network recognised 3.0 %, 154 of the GAN 1.1 %,
and 201 of drifting with some cross-entropy 8.7 % (2026-11; one run each, the GAN stopped early).
"""

import torch
from jaxtyping import Float
from torch import Tensor

TEMPERATURES = (0.02, 0.05, 0.2)  # in units of the mean distance: nearest neighbour to wide
STEP = 0.3


def drifting_loss(
    made: Float[Tensor, "groups n width"], real: Float[Tensor, "groups m width"]
) -> Float[Tensor, ""]:
    """Mean squared distance of the made samples to where they should drift, of each group apart.

    Scale-free: distances are measured by their mean, and drifts by their root mean square. So the
    value says nothing, only its gradient does.
    """
    made, real = made.float(), real.float()
    target, scale = drift_target(made.detach(), real)
    return (made / scale - target).square().sum(-1).mean()


def compare_places(
    made: Float[Tensor, "B places width"], real: Float[Tensor, "M places width"], classes: int
) -> list[Float[Tensor, ""]]:
    """The losses of pictures that come class after class: as wholes, and place by place."""
    ours, theirs = by_class(made, classes), by_class(real, classes)
    places = [each.transpose(1, 2).flatten(0, 1) for each in (ours, theirs)]
    return [drifting_loss(ours.flatten(2), theirs.flatten(2)), drifting_loss(*places)]


def by_class(batch: Float[Tensor, "B ..."], classes: int) -> Float[Tensor, "classes n ..."]:
    """Split a batch that comes class after class; float32."""
    return batch.float().view(classes, -1, *batch.shape[1:])


@torch.no_grad()
def drift_target(
    made: Float[Tensor, "groups n width"], real: Float[Tensor, "groups m width"]
) -> tuple[Float[Tensor, "groups n width"], Float[Tensor, ""]]:
    """Where the made samples should go, in units of the mean distance; and that distance."""
    count = real.shape[1]
    distances = torch.cdist(made, torch.cat([real, made], dim=1))
    scale = distances.mean() + 1e-6
    itself = torch.zeros_like(distances, dtype=torch.bool)
    itself[:, :, count:] = torch.eye(made.shape[1], dtype=torch.bool, device=made.device)
    drift = torch.zeros_like(made)
    for temperature in TEMPERATURES:
        closeness = (-distances / scale / temperature).masked_fill(itself, -1e4)
        # a pair counts if each is near to the other; so no real sample is left without a partner
        weight = (closeness.softmax(2) * closeness.softmax(1)).sqrt()
        to_real, to_made = weight[:, :, :count], weight[:, :, count:]
        pull = (to_real * to_made.sum(2, keepdim=True)) @ real
        push = (to_made * to_real.sum(2, keepdim=True)) @ made
        way = (pull - push) / scale
        drift += way / (way.square().sum(-1).mean().sqrt() + 1e-6)
    return made / scale + STEP * drift, scale
