"""Bring the mean picture of each class to the real one: a short stage after drifting.

Drifting leaves the classes further apart than they are, by a fifth in their mean pictures, and a
network trained on such pictures leans on what it will not find in real ones. So a copy of the UNet
learns to draw, from the same noise and prompts, what the UNet draws plus a shift of the class: the
real mean less the mean of what the UNet draws.
"""

import copy
from collections.abc import Sequence
from typing import TypeAlias

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from challenge.embedded_training.averaged_training import AveragedTraining
from challenge.embedded_training.lessons import Lesson
from challenge.embedded_training.master_weights import channels_last, learning_rate_factor
from challenge.generators.one_step import OneStep

FLAT_SHARE = 0.25
LEARNING_RATE = 1e-4  # at 3e-4 it forgets faster than it learns
CLASSES_PER_STEP, PER_CLASS = 32, 2  # the error is nearly the same for all images of a class
DRAWN_AT_ONCE = 64
OVERSHOOT = 1.4
"""In 1,000 steps the average goes seven tenths of the way; so its way is made longer."""

ClassShifts: TypeAlias = Float[Tensor, "_ _ _ _"]  # classes, channels, height, width of one set


class ClassMeansTraining(AveragedTraining):
    """The copy under training, and what it starts from."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        step: OneStep,
        lessons: Sequence[tuple[Lesson, ClassShifts]],
        steps: int,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(unet, LEARNING_RATE, seed, device)
        self._before = unet.state_dict()  # stays as it is: copies are trained
        self._teacher = drawing_copy(unet, device)
        self._step, self._lessons, self._steps = step, lessons, steps

    def step(self) -> dict[str, float]:
        """One step; returns what to log of it."""
        lesson, shifts = self._lessons[self.steps_done % len(self._lessons)]
        topics = lesson.draw_topics(CLASSES_PER_STEP, self._rng)
        inputs = lesson.draw_inputs(topics, PER_CLASS, self._rng)
        labels = torch.tensor([topic.label for topic in topics])
        with torch.no_grad():
            target = lesson.prompts.paint(self._teacher, self._step, *inputs)
            target += shifts[labels].repeat_interleave(PER_CLASS, 0)
        drawn = lesson.prompts.paint(self._weights.working, self._step, *inputs)
        loss = F.mse_loss(drawn, target)
        loss.backward()  # type: ignore[no-untyped-call]
        factor = learning_rate_factor(self.steps_done, self._steps, FLAT_SHARE)
        norm = self._use_gradients(factor)
        return {f"squared_error_{lesson.name}": float(loss.detach()), "gradient": norm}

    @torch.no_grad()
    def result(self) -> dict[str, Tensor]:
        """The weights that are shipped: the average, and beyond it as far as it falls short."""
        return {
            name: before + OVERSHOOT * (average.cpu() - before)
            for (name, before), average in zip(
                self._before.items(), self.average.state_dict().values(), strict=True
            )
        }


def drawing_copy(unet: UNet2DConditionModel, device: torch.device) -> UNet2DConditionModel:
    """One that only draws, in bfloat16 on ``device``."""
    copied = copy.deepcopy(unet).to(device, torch.bfloat16).eval().requires_grad_(False)
    channels_last(copied)
    return copied


@torch.no_grad()
def class_shifts(
    unet: UNet2DConditionModel, step: OneStep, lesson: Lesson, count: int, rng: torch.Generator
) -> ClassShifts:
    """By what each class's mean has to be moved: the real one's less that of ``count`` drawn."""
    shifts = []
    for real, topics in zip(lesson.real.by_class.latents, lesson.topics, strict=True):
        drawn = [
            lesson.prompts.paint(unet, step, *lesson.draw_inputs([topics.whole], part, rng)).sum(0)
            for part in parts_of(count)
        ]
        shifts.append(real.float().mean(0) - torch.stack(drawn).sum(0) / count)
    return torch.stack(shifts)


def parts_of(count: int) -> list[int]:
    """``count`` in parts that are drawn at once."""
    whole, rest = divmod(count, DRAWN_AT_ONCE)
    return [DRAWN_AT_ONCE] * whole + [rest] * (rest > 0)
