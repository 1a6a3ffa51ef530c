"""Train networks on a submission and test them on the real test set, some rounds over.

On a GPU the rounds are trained side by side, on a CPU one after the other. A forecast comes from
the steps themselves, measured before anything counts.
"""

import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from challenge.evaluation.networks import new_network
from challenge.evaluation.side_by_side import RoundsSideBySide, rounds_at_once
from challenge.evaluation.training import ChunkedRound, RoundRng, Schedule, TrainingSet
from challenge.spec import EVALUATOR, DatasetSpec, NetworkName, Protocol

MOST_TRAIN_TESTED = (
    10_000  # training images whose accuracy is measured; of more, evenly spaced ones
)
CURVE_POINTS = 100


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is: optimizer steps done of those of one round.

    ``rounds_at_once`` rounds from ``round_index`` on are trained side by side.
    """

    round_index: int
    rounds_at_once: int
    rounds: int
    step: int
    steps: int


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Job:
    """What to train and to test, and how."""

    train: TrainingSet
    test_images: Float[Tensor, "M 3 S S"]
    spec: DatasetSpec
    protocol: Protocol
    network: NetworkName = "convnet3"
    rounds: int = 1
    first_round: int = 0
    seed: int = 0
    dtype: torch.dtype = torch.float32  # of the arithmetic on a CPU
    compiler: str | None = None  # of the training step on a GPU

    @property
    def schedule(self) -> Schedule:
        """Of each round."""
        return Schedule.of(self.protocol, len(self.train.images))


@dataclass(frozen=True)
class Forecast:
    """Seconds of one optimizer step and of one test, measured before anything starts.

    Both are of ``rounds_at_once`` rounds together; ``groups`` such groups follow each other.
    """

    step_s: float
    test_s: float
    steps: int
    groups: int

    @property
    def seconds(self) -> float:
        """Of all rounds together."""
        return self.groups * (self.steps * self.step_s + self.test_s)


@dataclass(frozen=True)
class EvaluationResult:
    """Test predictions of each round, its training accuracy and losses, and the seconds of all.

    ``losses`` are means over equal parts of the training, at most 100. Accuracy on the test set is
    left to ``accuracies``, since the order of a submission's labels may be in doubt.
    """

    predictions: list[Int64[Tensor, " M"]]
    train_accuracies: list[float]
    losses: list[list[float]]
    seconds: float


def evaluate_set(job: Job, tell: Tell) -> EvaluationResult:
    """Train ``job.rounds`` networks and have each label the test images."""
    started_s = time.perf_counter()
    predictions: list[Tensor] = []
    train_accuracies: list[float] = []
    losses: list[list[float]] = []
    at_once = _rounds_at_once(job)
    every = -(-len(job.train.images) // MOST_TRAIN_TESTED)
    shown = TrainingSet(job.train.images[::every], job.train.labels[::every].cpu())
    for start in range(0, job.rounds, at_once):
        rounds = range(start, min(start + at_once, job.rounds))
        group = _new_group(job, rounds)
        steps = []
        for step, step_losses in enumerate(group.train(job.train, job.schedule), start=1):
            steps.append(step_losses)
            tell(Progress(start, len(rounds), job.rounds, step, job.schedule.steps))
        predictions += group.predict(job.test_images)
        train_accuracies += accuracies(group.predict(shown.images), shown.labels)
        losses += _curves(steps)
    return EvaluationResult(predictions, train_accuracies, losses, time.perf_counter() - started_s)


def accuracies(
    predictions: Sequence[Int64[Tensor, " M"]], labels: Int64[Tensor, " M"]
) -> list[float]:
    """Share of the images that each round labelled right."""
    return [float((predicted == labels).double().mean()) for predicted in predictions]


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (ddof = 1); None for the deviation of a single value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def forecast(job: Job) -> Forecast:
    """Time a few steps and test batches on networks that are thrown away."""
    at_once = _rounds_at_once(job)
    group = _new_group(job, range(at_once))
    timed = min(6, job.schedule.steps)
    times_s = [time.perf_counter()]
    for _ in group.train(job.train, Schedule(timed, timed)):
        synchronize(job.train.images)
        times_s.append(time.perf_counter())
    steps_s = [after - before for before, after in itertools.pairwise(times_s)]
    some = job.test_images[:512]
    started_s = time.perf_counter()
    group.predict(some)
    tested = len(job.test_images) + min(len(job.train.images), MOST_TRAIN_TESTED)
    test_s = (time.perf_counter() - started_s) * tested / len(some)
    groups = -(-job.rounds // at_once)
    return Forecast(statistics.median(steps_s[1:] or steps_s), test_s, job.schedule.steps, groups)


def endless_steps(job: Job) -> tuple[Iterator[Tensor], int]:
    """Steps of new networks, to be timed, and how many rounds each step is of."""
    at_once = _rounds_at_once(job)
    endless = Schedule(sys.maxsize, sys.maxsize)
    return _new_group(job, range(at_once)).train(job.train, endless), at_once


def _rounds_at_once(job: Job) -> int:
    device = job.train.images.device
    if device.type == "cpu":
        return 1
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return rounds_at_once(job.rounds, job.spec.image_size, EVALUATOR.batch_size, free_bytes)


def _new_group(job: Job, rounds: range) -> ChunkedRound | RoundsSideBySide:
    """Networks as they start, each with the random numbers of its round."""
    device = job.train.images.device
    rngs = [RoundRng.of(job.seed, job.spec, job.first_round + index, device) for index in rounds]
    networks = [new_network(job.network, job.spec, rng.network_seed, device) for rng in rngs]
    if device.type == "cpu":
        return ChunkedRound(networks[0], rngs[0], job.dtype)
    return RoundsSideBySide(networks, rngs, job.compiler)


def _curves(steps: list[Float[Tensor, " R"]]) -> list[list[float]]:
    """For each round the mean losses of equal parts of the training."""
    losses = torch.stack(steps, dim=1)
    parts = torch.tensor_split(losses, min(CURVE_POINTS, len(steps)), dim=1)
    curves: list[list[float]] = torch.stack([part.mean(dim=1) for part in parts], dim=1).tolist()
    return curves


def synchronize(tensor: Tensor) -> None:
    """Wait for the tensor's device, so that a reading of the clock counts."""
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
