"""Train the challenge's ConvNet on a submission, test it on the real test set, some rounds over.

The official schedule: SGD on hard labels, batches of 256 in a new random order each epoch (the last
one of an epoch may be smaller), DSA on every batch; after epoch (E - 1) // 2 + 1 the learning rate
drops to a tenth and the optimizer is a new one, so the momentum starts again from nothing.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from challenge.evaluation.convnet import ConvNet
from challenge.evaluation.dsa import augment_batch
from challenge.seeds import derive_seed
from challenge.spec import EVALUATOR, DatasetSpec, Protocol

TEST_BATCH = 256
# 8 MB of activations a layer, 16 images at 32 px and 4 at 64, stay in a CPU's cache. Against whole
# batches and AvgPool2d on 2 cores (medians of A B A B, 2026-11) that is 1.2 to 1.6 times the images
# a second at 32 px and 2.4 at 64 px while waiting threads sleep, 1.8 and 1.8 while they spin.
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
    """A submission on its device: normalised images, and the labels that their order implies."""

    images: Float[Tensor, "N 3 S S"]
    labels: Int64[Tensor, " N"]

    @classmethod
    def of(
        cls, images: Float[Tensor, "N 3 S S"], spec: DatasetSpec, device: torch.device
    ) -> "TrainingSet":
        """Label ``images`` by their place: as many of each class, class 0 first."""
        labels = torch.arange(spec.num_classes).repeat_interleave(len(images) // spec.num_classes)
        return cls(images.to(device), labels.to(device))


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is: optimizer steps done of those of one round."""

    round_index: int
    rounds: int
    step: int
    steps: int


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Forecast:
    """Seconds of one optimizer step and of one test, measured before anything starts."""

    step_s: float
    test_s: float
    steps: int
    rounds: int

    @property
    def seconds(self) -> float:
        """Of all rounds together."""
        return self.rounds * (self.steps * self.step_s + self.test_s)


@dataclass(frozen=True)
class EvaluationResult:
    """Test predictions of each round, and the seconds that they took.

    Accuracy is left to ``accuracies``, since the order of a submission's labels may be in doubt.
    """

    predictions: list[Int64[Tensor, " M"]]
    seconds: float


def evaluate_set(
    train: TrainingSet,
    test_images: Float[Tensor, "M 3 S S"],
    spec: DatasetSpec,
    protocol: Protocol,
    *,
    rounds: int,
    seed: int,
    tell: Tell,
) -> EvaluationResult:
    """Train ``rounds`` networks on ``train`` and have each label the test images."""
    started_s = time.perf_counter()
    predictions = []
    for round_index in range(rounds):
        rng = torch.Generator().manual_seed(derive_seed(seed, "evaluate", spec.name, round_index))
        schedule = Schedule.of(protocol, len(train.images))
        network = new_network(spec, rng, train.images.device)
        for step in train_steps(network, train, schedule, rng):
            tell(Progress(round_index, rounds, step, schedule.steps))
        predictions.append(predict(network, test_images))
    return EvaluationResult(predictions, time.perf_counter() - started_s)


def accuracies(predictions: list[Int64[Tensor, " M"]], labels: Int64[Tensor, " M"]) -> list[float]:
    """Share of the test images that each round labelled right."""
    return [float((predicted == labels).double().mean()) for predicted in predictions]


def mean_and_std(values: list[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (ddof = 1); None for the deviation of a single value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def forecast(
    train: TrainingSet,
    test_images: Float[Tensor, "M 3 S S"],
    spec: DatasetSpec,
    protocol: Protocol,
    rounds: int,
) -> Forecast:
    """Time a few steps and test batches on a network that is thrown away."""
    rng = torch.Generator().manual_seed(0)
    schedule = Schedule.of(protocol, len(train.images))
    network = new_network(spec, rng, train.images.device)
    timed = min(6, schedule.steps)
    times_s = [time.perf_counter()]
    for _ in train_steps(network, train, Schedule(timed, timed), rng):
        _synchronize(train.images)
        times_s.append(time.perf_counter())
    steps_s = [after - before for before, after in itertools.pairwise(times_s)]
    some = test_images[: 2 * TEST_BATCH]
    started_s = time.perf_counter()
    predict(network, some)
    test_s = (time.perf_counter() - started_s) * len(test_images) / len(some)
    return Forecast(statistics.median(steps_s[1:] or steps_s), test_s, schedule.steps, rounds)


def new_network(spec: DatasetSpec, rng: torch.Generator, device: torch.device) -> ConvNet:
    """A network with torch's default initialisation, drawn from ``rng`` and nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))
        return ConvNet(spec.num_classes, spec.image_size).to(device)


def train_steps(
    network: ConvNet, train: TrainingSet, schedule: Schedule, rng: torch.Generator
) -> Iterator[int]:
    """Train in place; yields the number of steps done after each."""
    optimizer = new_optimizer(network, EVALUATOR.learning_rate)
    batches = shuffled_batches(len(train.images), rng)
    network.train()
    for step in range(schedule.steps):
        if step == schedule.drop_after:
            lower = EVALUATOR.learning_rate * EVALUATOR.learning_rate_drop
            optimizer = new_optimizer(network, lower)
        batch = next(batches).to(train.images.device)
        train_step(network, optimizer, augment_batch(train.images[batch], rng), train.labels[batch])
        yield step + 1


def new_optimizer(network: ConvNet, learning_rate: float) -> torch.optim.SGD:
    """The official optimizer, without momentum so far."""
    return torch.optim.SGD(
        network.parameters(),
        lr=learning_rate,
        momentum=EVALUATOR.momentum,
        weight_decay=EVALUATOR.weight_decay,
    )


def train_step(
    network: ConvNet,
    optimizer: torch.optim.Optimizer,
    images: Float[Tensor, "B 3 S S"],
    labels: Int64[Tensor, " B"],
) -> float:
    """One step on the mean cross-entropy of the batch; returns that loss on a CPU, 0.0 on a GPU.

    On a CPU the gradient is summed over small chunks. On a GPU reading the loss would wait for it.
    """
    on_cpu = images.device.type == "cpu"
    chunk = chunk_size(images) if on_cpu else len(images)
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for some, their_labels in zip(
        torch.split(images, chunk), torch.split(labels, chunk), strict=True
    ):
        loss = F.cross_entropy(network(some), their_labels, reduction="sum") / len(images)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item() if on_cpu else 0.0
    optimizer.step()
    return total


def shuffled_batches(images: int, rng: torch.Generator) -> Iterator[Int64[Tensor, " B"]]:
    """Epochs without end: places in a new random order; an epoch's last batch may be small."""
    while True:
        yield from torch.split(torch.randperm(images, generator=rng), EVALUATOR.batch_size)


def chunk_size(images: Float[Tensor, "B 3 S S"]) -> int:
    """How many images of this size a CPU does at a time."""
    return max(1, CPU_CHUNK_PIXELS // (images.shape[-1] * images.shape[-2]))


@torch.inference_mode()
def predict(network: ConvNet, images: Float[Tensor, "M 3 S S"]) -> Int64[Tensor, " M"]:
    """The network's label for each image, on the CPU."""
    network.eval()
    device = next(network.parameters()).device
    chunk = chunk_size(images) if device.type == "cpu" else TEST_BATCH
    return torch.cat(
        [network(some.to(device)).argmax(dim=1).cpu() for some in torch.split(images, chunk)]
    )


def _synchronize(tensor: Tensor) -> None:
    """Wait for the device, so that a reading of the clock counts."""
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
