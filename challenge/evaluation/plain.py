"""The straightforward loop: a round as the official evaluate.py trains it, to measure against.

Whole batches from a DataLoader that fetches image by image, torch's own layers, warps whose
matrices are put together image by image in Python, and loss and accuracy read at every step (the
official evaluate.py, function epoch, and utils/utils.py, rand_scale and rand_rotate). It learns
what ``ChunkedRound`` learns; only the way is slow.
"""

import math
import random
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from challenge.evaluation import dsa
from challenge.evaluation.networks import new_network
from challenge.evaluation.protocol import Job
from challenge.evaluation.training import new_optimizer
from challenge.spec import DSA_STRATEGIES, EVALUATOR


def plain_losses(job: Job) -> Iterator[float]:
    """Train one round without end; yields the loss of each step."""
    device = job.train.images.device
    network = new_network(job.network, job.spec, job.seed, device)
    optimizer = new_optimizer(network.parameters(), dropped=False)
    rng = torch.Generator(device).manual_seed(job.seed)
    strategies = random.Random(job.seed)
    shuffling = torch.Generator().manual_seed(job.seed)
    pairs = TensorDataset(job.train.images, job.train.labels)
    loader = DataLoader(pairs, EVALUATOR.batch_size, shuffle=True, generator=shuffling)
    while True:
        for images, labels in loader:
            strategy = strategies.choice(DSA_STRATEGIES)
            yield _step(network, optimizer, augment_plainly(strategy, images, rng), labels)


def augment_plainly(strategy: str, images: Tensor, rng: torch.Generator) -> Tensor:
    """As ``dsa.apply_strategy``, the matrices of scale and rotate made image by image."""
    if strategy == "scale":
        scale_x, scale_y = dsa.draw_scale(len(images), rng)
        theta = [[[x, 0, 0], [0, y, 0]] for x, y in zip(scale_x, scale_y, strict=True)]
    elif strategy == "rotate":
        angles = dsa.draw_rotate(len(images), rng)
        theta = [[[math.cos(a), math.sin(-a), 0], [math.sin(a), math.cos(a), 0]] for a in angles]
    else:
        return dsa.apply_strategy(strategy, images, rng)
    matrices = torch.tensor(theta, dtype=torch.float32, device=images.device)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> float:
    logits = network(images)
    loss = F.cross_entropy(logits, labels)
    (logits.argmax(dim=1).cpu() == labels.cpu()).sum().item()  # the accuracy it prints
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()
