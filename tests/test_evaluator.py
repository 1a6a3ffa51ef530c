from types import SimpleNamespace

import pytest
import torch
from benches import CPU

from challenge.benchmarks import evaluator
from challenge.evaluation.protocol import Forecast, Job
from challenge.spec import CIFAR100


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Those that were run whole; each step is forecast to take a millisecond."""
    run: list[Job] = []

    def evaluate(job: Job, tell: object) -> SimpleNamespace:
        run.append(job)
        return SimpleNamespace(seconds=12.5)

    def expect(job: Job) -> Forecast:
        return Forecast(step_s=0.001, test_s=0.5, steps=job.schedule.steps, groups=1)

    monkeypatch.setattr(evaluator, "evaluate_set", evaluate)
    monkeypatch.setattr(evaluator, "forecast", expect)
    return run


def test_a_protocol_that_fits_is_run_whole(jobs: list[Job]) -> None:
    found = evaluator.time_protocol(CIFAR100, "official", 1000, CPU, seconds=60.0)
    assert found["forecast_s"] == pytest.approx(4.504)  # 1001 epochs of 4 steps
    assert found["measured_s"] == 12.5
    assert (found["images"], found["rounds"]) == (1000, 3)
    (job,) = jobs
    assert job.train.labels.bincount().tolist() == [10] * 100
    assert len(job.test_images) == 10_000


def test_one_that_does_not_fit_is_forecast_only(jobs: list[Job]) -> None:
    found = evaluator.time_protocol(CIFAR100, "short", 20_000, CPU, seconds=5.0)
    assert found["forecast_s"] == pytest.approx(0.5 + 101 * 79 * 0.001)
    assert found["measured_s"] is None
    assert jobs == []


def test_a_large_set_is_made_of_copies(jobs: list[Job]) -> None:
    evaluator.time_protocol(CIFAR100, "official", 2000, CPU, seconds=60.0)
    images = jobs[0].train.images
    assert len(images) == 2000
    assert torch.equal(images[:1000], images[1000:])
