from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from small_training import small_checkpoints, small_data, small_lesson, small_settings

from challenge.embedded_training.feature_network import Features
from challenge.embedded_training.generator_training import GeneratorTraining, compare
from challenge.embedded_training.lessons import Lesson, LessonPlan
from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.pixel_judges import PixelJudges
from challenge.embedded_training.resumable import save_checkpoint
from challenge.embedded_training.settings import TrainingSettings
from challenge.evaluation.classifier import new_convnet
from challenge.generators.one_step import only_step
from challenge.generators.tiny import load_tiny_pipeline
from challenge.spec import CIFAR100

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    return small_lesson()


def new_training(lesson: Lesson, out: Path) -> GeneratorTraining:
    pipe = load_tiny_pipeline()
    plan = LessonPlan([lambda: lesson], first_alone=0)
    return training_of(plan, pipe, small_settings(out))


def training_of(
    plan: LessonPlan, pipe: StableDiffusionXLPipeline, settings: TrainingSettings
) -> GeneratorTraining:
    latents = PatchLatents.fit([small_data()[0].train.flatten(0, 1)], torch.Generator())
    judges = PixelJudges([new_convnet(CIFAR100, 0, CPU)], latents)
    step = only_step(pipe.scheduler, CPU)
    return GeneratorTraining(pipe.unet, step, plan, judges, settings, seed=0, device=CPU)


def test_a_killed_training_goes_on_bit_for_bit(lesson: Lesson, tmp_path: Path) -> None:
    whole = new_training(lesson, tmp_path)
    measures = []
    small_checkpoints(tmp_path, save_every_s=0.0).run(
        whole, 4, tmp_path / "whole.pt", on_save=lambda: measures.append(whole.measure(lesson))
    )
    assert len(measures) == 4
    killed = new_training(lesson, tmp_path)
    killed.step()
    save_checkpoint(killed.state(), tmp_path / "generator.pt")
    del killed

    resumed = new_training(lesson, tmp_path)
    small_checkpoints(tmp_path).run(resumed, 4, tmp_path / "generator.pt")
    assert resumed.steps_done == 4
    for ours, theirs in zip(resumed.average.parameters(), whole.average.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_step_changes_the_weights_and_the_average_follows(lesson: Lesson, tmp_path: Path) -> None:
    training = new_training(lesson, tmp_path)
    before = [parameter.clone() for parameter in training.average.parameters()]
    values = training.step()
    after = list(training.average.parameters())
    changed = [not torch.equal(*pair) for pair in zip(before, after, strict=True)]
    assert sum(changed) > 0.9 * len(changed)
    assert values["drift_cifar100"] > 0
    assert values["gradient"] > 0


def test_the_average_weighs_late_steps_by_the_fourth_power(lesson: Lesson, tmp_path: Path) -> None:
    training, expected = new_training(lesson, tmp_path), torch.zeros(())
    for step in range(1, 4):
        training.step()
        weights = training.state()["master"]["conv_in.weight"]
        expected = expected + weights * ((step / 3) ** 4 - ((step - 1) / 3) ** 4)
    # three steps at the beginning of the warm-up change a weight by 1e-5
    torch.testing.assert_close(training.average.conv_in.weight.data, expected, rtol=0, atol=1e-7)


def test_the_measures_are_shares(lesson: Lesson, tmp_path: Path) -> None:
    measures = new_training(lesson, tmp_path).measure(lesson)
    assert measures.keys() == {
        "recognised_cifar100",
        "feature_spread_cifar100",
        "latent_spread_cifar100",
    }
    assert 0 <= measures["recognised_cifar100"] <= 1
    assert 0 < measures["latent_spread_cifar100"] < 3


def test_the_second_data_set_is_prepared_when_its_first_step_comes(lesson: Lesson) -> None:
    prepared = []

    def prepare(name: str) -> Lesson:
        prepared.append(name)
        return lesson

    plan = LessonPlan([lambda: prepare("first"), lambda: prepare("second")], first_alone=2)
    for step in (0, 1):
        plan.at(step)
    assert prepared == ["first"]
    for step in (2, 3, 4, 5):
        plan.at(step)
    assert prepared == ["first", "second"]
    assert len(plan.begun) == 2


def test_each_class_is_compared_with_its_own_real_images() -> None:
    rng = torch.Generator().manual_seed(0)

    def features(count: int, offsets: list[float]) -> Features:
        """Two classes of so many images, each about an offset of its own."""
        offset = torch.tensor(offsets).repeat_interleave(count)[:, None, None]
        middle = torch.randn(2 * count, 16, 4, generator=rng) + offset
        return Features(middle.transpose(1, 2).reshape(-1, 4, 4, 4), middle, middle)

    real = features(12, [-5.0, 5.0])
    exchanged = features(6, [5.0, -5.0])
    last = exchanged.last.clone().requires_grad_(True)
    compare(exchanged._replace(last=last), real, 2).backward()  # type: ignore[no-untyped-call]
    assert last.grad is not None
    first, second = last.grad.view(2, 6, 16, 4).mean(dim=(1, 2, 3)).tolist()
    assert first > 0 > second  # down the gradient is towards the class's own


@pytest.mark.parametrize("first_alone", [0, 3, 4])
@pytest.mark.parametrize("lessons", [1, 2, 3])
def test_the_steps_of_each_lesson_are_counted_apart(
    lesson: Lesson, first_alone: int, lessons: int
) -> None:
    of_names = [replace(lesson, name=name) for name in "abc"[:lessons]]
    plan = LessonPlan([partial(copy, each) for each in of_names], first_alone)
    taught: dict[str, int] = {}
    for step in range(20):
        name = plan.at(step).name
        assert plan.taught_before(step) == taught.get(name, 0)
        taught[name] = taught.get(name, 0) + 1


def test_a_data_set_that_comes_later_learns_its_classes_roughly_first_too(
    lesson: Lesson, tmp_path: Path
) -> None:
    settings = replace(
        small_settings(tmp_path), early_steps=1, early_class_weight=1e6, class_weight=0.0
    )
    pipe = load_tiny_pipeline()
    plan = LessonPlan([lambda: lesson, lambda: replace(lesson, name="later")], first_alone=3)
    training = training_of(plan, pipe, settings)
    steps = [training.step() for _ in range(5)]
    strong = [values["gradient"] > 1e3 for values in steps]
    assert [next(key for key in values if "drift" in key) for values in steps] == [
        "drift_cifar100", "drift_cifar100", "drift_cifar100", "drift_later", "drift_cifar100",
    ]  # fmt: skip
    assert strong == [True, False, False, True, False]


def test_what_the_judges_of_pixels_say_counts_by_its_weight(lesson: Lesson, tmp_path: Path) -> None:
    gradients = []
    for weight in (0.0, 1e6):
        settings = replace(small_settings(tmp_path), pixel_weight=weight)
        plan = LessonPlan([lambda: lesson], first_alone=0)
        gradients.append(training_of(plan, load_tiny_pipeline(), settings).step()["gradient"])
    assert gradients[1] > 1e3 * gradients[0]
