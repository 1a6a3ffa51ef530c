from pathlib import Path

import pytest
import torch
from small_training import small_checkpoints, small_lesson

from challenge.embedded_training.class_means import ClassMeansTraining, class_shifts, drawing_copy
from challenge.embedded_training.lessons import Lesson
from challenge.embedded_training.resumable import save_checkpoint
from challenge.generators.one_step import only_step
from challenge.generators.tiny import load_tiny_pipeline

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    return small_lesson()


def new_training(lesson: Lesson, steps: int = 4, drawn: int = 3) -> ClassMeansTraining:
    pipe = load_tiny_pipeline()
    step, unet = only_step(pipe.scheduler, CPU), drawing_copy(pipe.unet, CPU)
    shifts = class_shifts(unet, step, lesson, drawn, torch.Generator().manual_seed(drawn))
    lessons = [(lesson, shifts)] * 2
    return ClassMeansTraining(pipe.unet, step, lessons, steps, seed=0, device=CPU)


def test_a_shift_leads_from_the_mean_that_is_drawn_to_the_real_one(lesson: Lesson) -> None:
    pipe = load_tiny_pipeline()
    unet, step = pipe.unet.bfloat16(), only_step(pipe.scheduler, CPU)
    few, many = (
        class_shifts(unet, step, lesson, count, torch.Generator().manual_seed(count))
        for count in (64, 200)
    )
    real = lesson.real.by_class.latents.float().mean(1)
    assert few.shape == real.shape == (3, 12, 8, 8)
    first = lesson.topics[0].whole
    with torch.no_grad():
        inputs = lesson.draw_inputs([first], 64, torch.Generator().manual_seed(64))
        drawn = lesson.prompts.paint(unet, step, *inputs).mean(0)
    torch.testing.assert_close(drawn + few[0], real[0], rtol=0, atol=1e-5)
    assert (few - many).square().mean() < 0.1 * few.square().mean()


def test_the_copy_comes_nearer_to_the_shifted_pictures(
    lesson: Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    # faster than is good for a hundred classes
    monkeypatch.setattr("challenge.embedded_training.class_means.LEARNING_RATE", 3e-4)
    training = new_training(lesson, steps=40, drawn=64)
    errors = [training.step()["squared_error_cifar100"] for _ in range(40)]
    assert sum(errors[-5:]) < 0.7 * sum(errors[:5])


def test_the_result_lies_beyond_the_average(lesson: Lesson) -> None:
    training = new_training(lesson)
    before = {name: each.clone() for name, each in training.average.state_dict().items()}
    for parameter in training.average.parameters():  # farther than a step would take it
        parameter.add_(0.5)
    result = training.result()
    assert result.keys() == before.keys()
    for name, average in training.average.state_dict().items():
        way = result[name] - before[name]
        torch.testing.assert_close(way, 1.4 * (average - before[name]), rtol=0, atol=1e-5)


def test_a_killed_training_goes_on_bit_for_bit(lesson: Lesson, tmp_path: Path) -> None:
    whole = new_training(lesson)
    small_checkpoints(tmp_path).run(whole, 4, tmp_path / "whole.pt")
    killed = new_training(lesson)
    killed.step()
    save_checkpoint(killed.state(), tmp_path / "killed.pt")
    resumed = new_training(lesson)
    small_checkpoints(tmp_path).run(resumed, 4, tmp_path / "killed.pt")
    for ours, theirs in zip(resumed.average.parameters(), whole.average.parameters(), strict=True):
        assert torch.equal(ours, theirs)
