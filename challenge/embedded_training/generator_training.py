"""Train the UNet by drifting: the long stage.

A step makes 16 images of each of 8 classes of one data set, each class of one of its topics, and
pulls their latents and features towards those of 48 real images of the same topics. What is shipped
is an average of the weights over most of the run, by a power of the step (Karras et al., Analyzing
and Improving the Training Dynamics of Diffusion Models, 2312.02696).
"""

import copy

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from challenge.embedded_training.averaged_training import AveragedTraining
from challenge.embedded_training.drifting import by_class, compare_places, drifting_loss
from challenge.embedded_training.feature_network import Features
from challenge.embedded_training.lessons import Lesson, LessonPlan
from challenge.embedded_training.master_weights import learning_rate_factor
from challenge.embedded_training.pixel_judges import PixelJudges
from challenge.embedded_training.real_features import run_frozen
from challenge.embedded_training.settings import TrainingSettings
from challenge.generators.one_step import OneStep

FLAT_SHARE = 0.75
REPORT_PER_CLASS = 8
REPORTED_AT_ONCE = 25  # classes


class GeneratorTraining(AveragedTraining):
    """The UNet under training, and what it learns from."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        step: OneStep,
        plan: LessonPlan,
        pixel_judges: PixelJudges,
        settings: TrainingSettings,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(unet, settings.learning_rate, seed, device)
        self._one_step, self.plan, self._settings = step, plan, settings
        self._pixel_judges = pixel_judges
        self._device = device

    def step(self) -> dict[str, float]:
        """One step; returns what to log of it."""
        lesson = self.plan.at(self.steps_done)
        drift, in_pixels, cross_entropy = self._losses(lesson)
        early = self.plan.taught_before(self.steps_done) < self._settings.early_steps
        weight = self._settings.early_class_weight if early else self._settings.class_weight
        loss = drift + self._settings.pixel_weight * in_pixels + weight * cross_entropy
        loss.backward()  # type: ignore[no-untyped-call]
        factor = learning_rate_factor(self.steps_done, self._settings.generator_steps, FLAT_SHARE)
        norm = self._use_gradients(factor)
        return {
            f"drift_{lesson.name}": float(drift.detach()),
            f"pixel_drift_{lesson.name}": float(in_pixels.detach()),
            f"cross_entropy_{lesson.name}": float(cross_entropy.detach()),
            "gradient": norm,
        }

    def _losses(self, lesson: Lesson) -> tuple[Tensor, Tensor, Tensor]:
        """Drifting in latents and features, drifting in pixels, cross-entropy."""
        settings, rng = self._settings, self._rng
        classes = min(settings.classes_per_step, lesson.num_classes)
        topics = lesson.draw_topics(classes, rng)
        real = lesson.real.draw(topics, settings.real_per_class, rng)
        labels = torch.tensor([topic.label for topic in topics])
        labels = labels.repeat_interleave(settings.made_per_class)
        inputs = lesson.draw_inputs(topics, settings.made_per_class, rng)
        latents = lesson.prompts.paint(self._weights.working, self._one_step, *inputs)
        made = lesson.judge.features(latents.to(torch.bfloat16))._replace(latents=latents)
        logits = lesson.judge.classify(made).float()
        cross_entropy = F.cross_entropy(logits, labels.to(self._device), label_smoothing=0.1)
        in_pixels = self._pixel_judges.loss(latents, real.latents, classes, rng)
        return compare(made, real, classes), in_pixels, cross_entropy

    @torch.no_grad()
    def measure(self, lesson: Lesson) -> dict[str, float]:
        """How the average does: images recognised by the judge, and spread within the classes.

        The spreads are shares of the real images' own, in features and in latents. An average that
        is recognised but narrow has collapsed onto few images.
        """
        rng = torch.Generator().manual_seed(self.steps_done)  # training goes on as if not measured
        labels = torch.arange(lesson.num_classes).repeat_interleave(REPORT_PER_CLASS)
        unet = copy.deepcopy(self.average).to(torch.bfloat16)
        wholes = [each.whole for each in lesson.topics]
        starts = range(0, len(wholes), REPORTED_AT_ONCE)
        parts = [wholes[start : start + REPORTED_AT_ONCE] for start in starts]
        inputs = [lesson.draw_inputs(part, REPORT_PER_CLASS, rng) for part in parts]
        painted = [lesson.prompts.paint(unet, self._one_step, *each) for each in inputs]
        made = [run_frozen(lesson.judge, latents) for latents in painted]
        logits = torch.cat([lesson.judge.classify(some) for some in made])
        right = (logits.argmax(1).cpu() == labels).float().mean()
        real = lesson.real.draw(wholes, REPORT_PER_CLASS, rng)
        values = {"recognised": float(right)}
        for name, index in (("feature_spread", 2), ("latent_spread", 0)):
            spread = _spread(torch.cat([some[index] for some in made]))
            values[name] = spread / _spread(real[index])
        return {f"{name}_{lesson.name}": value for name, value in values.items()}


def compare(made: Features, real: Features, classes: int) -> Float[Tensor, ""]:
    """Drifting losses within each class: of latents and features, whole and place by place."""
    parts = (
        (made.latents.flatten(2).transpose(1, 2), real.latents.flatten(2).transpose(1, 2)),
        (made.middle, real.middle),
        (made.last, real.last),
    )
    losses = []
    for ours, theirs in parts:
        losses += compare_places(ours, theirs, classes)
    made_means, real_means = (by_class(part.last, classes).mean(2) for part in (made, real))
    losses.append(drifting_loss(made_means, real_means))
    return torch.stack(losses).sum()


def _spread(features: Tensor) -> float:
    """Mean standard deviation within the classes, of images that come class after class."""
    return float(features.float().reshape(-1, REPORT_PER_CLASS, features[0].numel()).std(1).mean())
