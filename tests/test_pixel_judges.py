from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import FakeClock
from small_training import small_data
from torch import Tensor

from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.pixel_judges import WINDOW, PixelJudges, train_pixel_judge
from challenge.embedded_training.training_images import TrainingImages, labels_of
from challenge.embedded_training.training_log import TrainingLog
from challenge.evaluation.classifier import new_convnet
from challenge.spec import CIFAR100

CPU = torch.device("cpu")
CLASSES = 2


@pytest.fixture(scope="module")
def judges() -> PixelJudges:
    images = [real.train.flatten(0, 1) for real in small_data()]
    latents = PatchLatents.fit(images, torch.Generator().manual_seed(0))
    networks = [new_convnet(CIFAR100, seed, CPU).eval().requires_grad_(False) for seed in (1, 2)]
    return PixelJudges(networks, latents)


def latents_of(judges: PixelJudges, offset: float, side: int = 32) -> Tensor:
    """Four smooth pictures of each of two classes."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(4 * CLASSES, 3, 4, 4, generator=rng)
    pixels = torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")
    return judges.latents.encode((pixels * 200 + offset).to(torch.uint8))


def coloured_images() -> TrainingImages:
    """Three classes of noise: red, green and blue."""
    real = small_data()[0]
    brightness = torch.eye(3).view(3, 1, 3, 1, 1) * 0.7 + 0.3
    return replace(real, train=(real.train * brightness).to(torch.uint8))


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_the_gradient_leads_from_blocks_to_smooth_pictures(judges: PixelJudges) -> None:
    real = latents_of(judges, 20)
    made = (real + 0.8 * torch.randn(real.shape, generator=rng())).requires_grad_()
    (gradient,) = torch.autograd.grad(judges.loss(made, real, CLASSES, rng()), made)
    away = (made - real).detach()
    assert float((gradient * away).sum()) > 0
    assert gradient.isfinite().all()


def test_of_a_large_picture_one_window_is_looked_at_and_another_in_another_step(
    judges: PixelJudges,
) -> None:
    real = latents_of(judges, 20, side=64)
    made = latents_of(judges, 40, side=64).requires_grad_()
    steps = rng()
    seen = []
    for _ in range(4):
        (gradient,) = torch.autograd.grad(judges.loss(made, real, CLASSES, steps), made)
        rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
        assert len(rows) == WINDOW
        assert int(rows[-1] - rows[0]) == WINDOW - 1
        seen.append(int(rows[0]))
    assert len(set(seen)) > 1


def test_the_judges_differ_and_learn(tmp_path: Path) -> None:
    real = coloured_images()
    log = TrainingLog(tmp_path / "log.jsonl", FakeClock())
    first, second = (train_pixel_judge(real, 16, seed=seed, device=CPU, log=log) for seed in (0, 1))
    assert not torch.equal(first.classifier.weight, second.classifier.weight)
    images, labels = real.train.flatten(0, 1).float() / 255, labels_of(real.train)
    with torch.inference_mode():
        right = (first((images - 0.5) / 0.25).argmax(1) == labels).float().mean()
    assert right > 0.9
