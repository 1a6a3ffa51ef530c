from dataclasses import replace

import pytest
import torch
from torch import Tensor

from challenge.evaluation import protocol
from challenge.evaluation.plain import plain_losses
from challenge.evaluation.protocol import (
    Job,
    Progress,
    accuracies,
    endless_steps,
    evaluate_set,
    forecast,
    mean_and_std,
)
from challenge.evaluation.training import ChunkedRound, TrainingSet
from challenge.spec import DatasetSpec, Protocol

# Two classes of 8x8 images, stripes upright and lying: learned in a few steps.
TOY = DatasetSpec("cifar100", "stripes", 2, 8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def stripes(per_class: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    images = 0.5 * torch.randn(2 * per_class, 3, 8, 8, generator=rng)
    images[:per_class, :, :, ::4] += 4
    images[per_class:, :, ::4] += 4
    return images


def toy_job(updates: int, rounds: int = 1, seed: int = 0) -> Job:
    train = TrainingSet.of(stripes(10, seed=1), TOY, torch.device("cpu"))
    steps = Protocol("quick", rounds=1, updates=updates)
    return Job(train, stripes(20, seed=2), TOY, steps, rounds=rounds, seed=seed)


def be_silent(progress: Progress) -> None:
    """Nobody listens."""


def test_it_learns_what_can_be_learned() -> None:
    labels = torch.arange(2).repeat_interleave(20)
    result = evaluate_set(toy_job(updates=40), be_silent)
    assert accuracies(result.predictions, labels) == [1.0]
    assert accuracies(result.predictions, 1 - labels) == [0.0]
    assert result.train_accuracies == [1.0]
    assert result.seconds > 0


def test_the_learning_curve_falls_and_has_a_point_for_each_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "CURVE_POINTS", 10)
    (curve,) = evaluate_set(toy_job(updates=40), be_silent).losses
    assert len(curve) == 10
    assert curve[-1] < 0.5 < 0.6 < curve[0]
    (short,) = evaluate_set(toy_job(updates=3), be_silent).losses
    assert len(short) == 3


def test_a_round_depends_on_seed_and_round_alone() -> None:
    test_images = torch.randn(200, 3, 8, 8, generator=torch.Generator().manual_seed(3))

    def predictions(seed: int, rounds: int, first: int = 0) -> list[list[int]]:
        torch.manual_seed(rounds)  # torch's own rng must not count
        job = replace(toy_job(8, rounds, seed), test_images=test_images, first_round=first)
        return [predicted.tolist() for predicted in evaluate_set(job, be_silent).predictions]

    first, second = predictions(seed=0, rounds=2)
    assert predictions(seed=0, rounds=1) == [first]
    assert predictions(seed=0, rounds=1, first=1) == [second]
    assert first != second
    assert predictions(seed=1, rounds=1) != [first]


def test_tells_every_step_of_every_round() -> None:
    told: list[Progress] = []
    evaluate_set(toy_job(updates=3, rounds=2), told.append)
    expected = [Progress(place, 1, 2, step, 3) for place in (0, 1) for step in (1, 2, 3)]
    assert told == expected


def test_forecast_is_rounds_times_training_and_testing(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    def step(*arguments: object) -> Tensor:
        nonlocal now_s
        now_s += 5.0 if now_s == 0 else 0.25  # the first one is a warm-up
        return torch.zeros(1)

    def test(self: ChunkedRound, images: Tensor) -> list[Tensor]:
        nonlocal now_s
        now_s += 0.01 * len(images)
        return [torch.zeros(len(images), dtype=torch.int64)]

    monkeypatch.setattr(ChunkedRound, "step", step)
    monkeypatch.setattr(ChunkedRound, "predict", test)
    monkeypatch.setattr("time.perf_counter", lambda: now_s)
    job = replace(toy_job(updates=400, rounds=2), test_images=torch.zeros(980, 3, 8, 8))
    expected = forecast(job)
    assert expected.step_s == pytest.approx(0.25)
    assert expected.test_s == pytest.approx(10.0)  # and the 20 training images
    assert expected.seconds == pytest.approx(2 * (400 * 0.25 + 10.0))


def test_many_training_images_are_tested_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MOST_TRAIN_TESTED", 5)
    tested: list[int] = []
    predict = ChunkedRound.predict

    def note(self: ChunkedRound, images: Tensor) -> list[Tensor]:
        tested.append(len(images))
        return predict(self, images)

    monkeypatch.setattr(ChunkedRound, "predict", note)
    result = evaluate_set(toy_job(updates=40), be_silent)
    assert tested == [40, 5]  # every fourth of 20, of both classes
    assert result.train_accuracies == [1.0]


def test_steps_without_end_go_on_after_an_epoch() -> None:
    steps, at_once = endless_steps(toy_job(updates=1))
    assert at_once == 1
    assert [float(next(steps)) > 0 for _ in range(3)] == [True] * 3


def test_the_straightforward_loop_learns_the_same() -> None:
    losses = plain_losses(toy_job(updates=1))
    first, *_, last = (next(losses) for _ in range(40))
    assert last < 0.5 < 0.6 < first


def test_mean_and_std_have_one_degree_of_freedom_less() -> None:
    mean, std = mean_and_std([0.1, 0.2, 0.4])
    assert mean == pytest.approx(0.7 / 3)
    assert std == pytest.approx(0.1527525)  # sqrt((0.1333^2 + 0.0333^2 + 0.1667^2) / 2)
    assert mean_and_std([0.25]) == (0.25, None)
