"""Trains the challenge's network well on real images: an eye for others, not a score.

The evaluator's schedule is the challenge's; this one is made to end early with a good network: SGD,
the learning rate up and down once.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from challenge.evaluation.convnet import ConvNet
from challenge.evaluation.layers import use_cpu_kernels
from challenge.evaluation.networks import new_network
from challenge.evaluation.training import ChunkedRound, RoundRng
from challenge.spec import DatasetSpec

Batches = Iterator[tuple[Float[Tensor, "B 3 S S"], Int64[Tensor, " B"]]]


@dataclass(frozen=True)
class TrainingPlan:
    """How the network is trained: SGD, the learning rate up and down once."""

    steps: int = 1000
    batch: int = 128
    peak_learning_rate: float = 0.05
    weight_decay: float = 5e-4
    shift_share: float = 1 / 8  # of the image's side, mirrored border


def new_convnet(spec: DatasetSpec, seed: int, device: torch.device) -> ConvNet:
    """The challenge's network as it starts, taking the ways that are fast on its device."""
    network = new_network("convnet3", spec, seed % 2**32, device)
    assert isinstance(network, ConvNet)
    if device.type == "cpu":
        use_cpu_kernels(network)
    return network


def train_classifier(
    network: ConvNet,
    batches: Batches,
    spec: DatasetSpec,
    device: torch.device,
    plan: TrainingPlan,
    *,
    chunked: bool,
) -> Iterator[float]:
    """Train in place on normalised images; yields the loss of each step.

    ``chunked`` is the way that is fast on a CPU.
    """
    optimizer = torch.optim.SGD(
        network.parameters(), plan.peak_learning_rate, 0.9, weight_decay=plan.weight_decay,
        nesterov=True,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, plan.peak_learning_rate, total_steps=max(plan.steps, 10), pct_start=0.2
    )
    network.train()
    steps = _chunked_steps if chunked else _plain_steps
    for loss in itertools.islice(steps(network, optimizer, batches, spec, device), plan.steps):
        schedule.step()
        yield loss


def _chunked_steps(
    network: ConvNet,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    spec: DatasetSpec,
    device: torch.device,
) -> Iterator[float]:
    """Steps without end by the evaluator's chunks: the way of a CPU."""
    unused = RoundRng.of(0, spec, 0, device)  # the batches bring their own order
    in_chunks = ChunkedRound(network, unused, cpu_dtype())
    with in_chunks.pool() as pool:
        for images, labels in batches:
            yield float(in_chunks.step(optimizer, images, labels, pool))


def _plain_steps(
    network: ConvNet,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    spec: DatasetSpec,
    device: torch.device,
) -> Iterator[float]:
    """Steps without end, each on its whole batch: the way of a GPU."""
    for images, labels in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images.to(device)), labels.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield float(loss.detach())


def cpu_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it fast (AMX), else float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return torch.float32
    return torch.bfloat16 if "amx_bf16" in flags else torch.float32
