"""How long the evaluator takes on this machine, on images of noise: their content costs nothing."""

import time
from dataclasses import asdict
from typing import Any

import torch

from challenge.evaluation.outcome import compare_plain
from challenge.evaluation.protocol import Job, evaluate_set, forecast
from challenge.evaluation.training import TrainingSet
from challenge.spec import OFFICIAL_IPC, PROTOCOLS, DatasetSpec, ProtocolName

TEST_IMAGES = 10_000
MARGIN = 1.2  # of the forecast must be left
DIFFERENT_IMAGES = 1_000  # of a set of many; the others are copies


def time_protocol(
    spec: DatasetSpec, protocol: ProtocolName, images: int, device: torch.device, seconds: float
) -> dict[str, Any]:
    """Forecast the protocol for a set of so many images, and run it whole if ``seconds`` allow."""
    end_s = time.monotonic() + seconds
    job = _job(spec, protocol, images, device)
    expected = forecast(job)
    fits = MARGIN * expected.seconds < end_s - time.monotonic()
    return {
        "protocol": protocol,
        "images": images,
        "rounds": job.rounds,
        "forecast": asdict(expected),
        "forecast_s": expected.seconds,
        "measured_s": evaluate_set(job, lambda progress: None).seconds if fits else None,
    }


def time_plain_step(spec: DatasetSpec, device: torch.device) -> dict[str, Any]:
    """Seconds of a step and round, beside the straightforward loop's, in turns."""
    return compare_plain(_job(spec, "official", OFFICIAL_IPC * spec.num_classes, device))


def _job(spec: DatasetSpec, protocol: ProtocolName, images: int, device: torch.device) -> Job:
    """A set of noise, as many images of each class, and a test set of noise."""
    different = min(images, DIFFERENT_IMAGES)
    noise = torch.randn(different, *spec.image_shape)
    train = TrainingSet.of(noise.repeat(images // different, 1, 1, 1), spec, device)
    return Job(
        train,
        torch.randn(TEST_IMAGES, *spec.image_shape),
        spec,
        PROTOCOLS[protocol],
        rounds=PROTOCOLS[protocol].rounds,
    )
