"""One round of the evaluator: its random numbers, its schedule, and its training on a CPU.

The official schedule: SGD on hard labels, batches of 256 in a new random order each epoch (the last
one of an epoch may be smaller), DSA on every batch; after epoch (E - 1) // 2 + 1 the learning rate
drops to a tenth and the optimizer is a new one, so the momentum starts again from nothing.

On a CPU the gradient of a batch is the sum over small chunks, whose maps stay in the cache, and the
chunks are dealt to a thread a core, each computing alone. Two threads that share every operation
wait for each other thousands of times a second: with another busy process on two cores that made a
step 14 times slower, dealt chunks only shared the cores.
"""

import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from challenge.evaluation.dsa import augment_batch
from challenge.evaluation.layers import use_cpu_kernels
from challenge.seeds import derive_seed
from challenge.spec import EVALUATOR, DatasetSpec, Protocol

TEST_BATCH = 256
# 16 images at 32 px and 4 at 64: 8 MB of activations a layer in float32
CPU_CHUNK_PIXELS = 16 * 32 * 32


@dataclass(frozen=True)
class Schedule:
    """Optimizer steps in all, and after how many the learning rate drops."""

    steps: int
    drop_after: int

    @classmethod
    def of(cls, protocol: Protocol, images: int) -> "Schedule":
        """The steps that a protocol means for a set of so many images."""
        if protocol.epochs is None:
            assert protocol.updates is not None  # Protocol allows one of the two
            return cls(protocol.updates, protocol.updates // 2)
        an_epoch = -(-images // EVALUATOR.batch_size)
        return cls(protocol.epochs * an_epoch, ((protocol.epochs - 1) // 2 + 2) * an_epoch)


@dataclass(frozen=True)
class TrainingSet:
    """A submission on its device: normalised images and their labels."""

    images: Float[Tensor, "N 3 S S"]
    labels: Int64[Tensor, " N"]

    @classmethod
    def of(
        cls,
        images: Float[Tensor, "N 3 S S"],
        spec: DatasetSpec,
        device: torch.device,
        labels: Int64[Tensor, " N"] | None = None,
    ) -> "TrainingSet":
        """Without ``labels`` the place says them: as many of each class, class 0 first."""
        if labels is None:
            per_class = len(images) // spec.num_classes
            labels = torch.arange(spec.num_classes).repeat_interleave(per_class)
        return cls(images.to(device), labels.to(device))


@dataclass(frozen=True)
class RoundRng:
    """The random numbers of one round, from its seed alone.

    ``strategies`` is asked by the program which augmentation comes next, ``tensors`` lives on the
    device and draws orders and parameters there, so that no step waits for a number.
    """

    network_seed: int
    strategies: random.Random
    tensors: torch.Generator

    @classmethod
    def of(cls, seed: int, spec: DatasetSpec, round_index: int, device: torch.device) -> "RoundRng":
        """The numbers of round ``round_index`` of an evaluation with this seed."""

        def derived(what: str) -> int:
            return derive_seed(seed, "evaluate", spec.name, round_index, what)

        tensors = torch.Generator(device).manual_seed(derived("tensors"))
        return cls(derived("network"), random.Random(derived("strategies")), tensors)

    def batches(self, train: TrainingSet) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented images and labels, a batch after the other without end."""
        for batch in shuffled_batches(len(train.images), self.tensors):
            images = augment_batch(train.images[batch], self.tensors, self.strategies)
            yield images, train.labels[batch]


def shuffled_batches(images: int, rng: torch.Generator) -> Iterator[Int64[Tensor, " B"]]:
    """Epochs without end: places in a new random order; an epoch's last batch may be small."""
    while True:
        order = torch.randperm(images, generator=rng, device=rng.device)
        yield from torch.split(order, EVALUATOR.batch_size)


def new_optimizer(parameters: Iterable[Tensor], *, dropped: bool) -> torch.optim.SGD:
    """The official optimizer, without momentum so far, before or after the drop of the rate."""
    return torch.optim.SGD(
        parameters,
        lr=EVALUATOR.learning_rate * (EVALUATOR.learning_rate_drop if dropped else 1.0),
        momentum=EVALUATOR.momentum,
        weight_decay=EVALUATOR.weight_decay,
    )


@dataclass
class ChunkedRound:
    """One round on a CPU, in chunks dealt to ``threads`` threads; ``dtype`` is of the arithmetic.

    Weights, gradients and the loss stay float32 in bfloat16 too, and so do the statistics of the
    norms.
    """

    network: nn.Module
    rng: RoundRng
    dtype: torch.dtype = torch.float32
    threads: int = field(default_factory=torch.get_num_threads)

    def __post_init__(self) -> None:
        use_cpu_kernels(self.network)
        self._parameters = list(self.network.parameters())

    def train(self, train: TrainingSet, schedule: Schedule) -> Iterator[Float[Tensor, "1"]]:
        """Train in place; yields the loss of each step."""
        self.network.train()
        optimizer = new_optimizer(self._parameters, dropped=False)
        batches = self.rng.batches(train)
        with self.pool() as pool:
            for step in range(schedule.steps):
                if step == schedule.drop_after:
                    optimizer = new_optimizer(self._parameters, dropped=True)
                yield self.step(optimizer, *next(batches), pool)

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        images: Float[Tensor, "B 3 S S"],
        labels: Int64[Tensor, " B"],
        pool: ThreadPoolExecutor,
    ) -> Float[Tensor, "1"]:
        """One step on the mean cross-entropy of the batch; returns that loss."""

        def chunk_gradient(some: Tensor, their_labels: Tensor) -> tuple[Tensor, ...]:
            logits = self._logits(some)
            loss = F.cross_entropy(logits, their_labels, reduction="sum") / len(images)
            return loss.detach(), *torch.autograd.grad(loss, self._parameters)

        chunk = chunk_size(images)
        parts = pool.map(chunk_gradient, torch.split(images, chunk), torch.split(labels, chunk))
        total, *gradients = next(parts)  # summed in the order of the chunks, whoever is first
        for loss, *others in parts:
            total += loss
            torch._foreach_add_(gradients, others)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        return total[None]

    def predict(self, images: Float[Tensor, "M 3 S S"]) -> list[Int64[Tensor, " M"]]:
        """The network's label for each image."""
        self.network.eval()

        def labels(some: Tensor) -> Tensor:
            with torch.inference_mode():
                return self._logits(some).argmax(dim=1)

        with self.pool() as pool:
            return [torch.cat(list(pool.map(labels, torch.split(images, chunk_size(images)))))]

    def _logits(self, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            logits: Tensor = self.network(images)
        return logits.float()

    def pool(self) -> ThreadPoolExecutor:
        """Threads of which each computes alone."""
        return ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))


def chunk_size(images: Float[Tensor, "B 3 S S"]) -> int:
    """How many images of this size a CPU thread does at a time."""
    return max(1, CPU_CHUNK_PIXELS // (images.shape[-1] * images.shape[-2]))
