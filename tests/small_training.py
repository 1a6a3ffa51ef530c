"""A training run of the embedded model on a few random images of three classes, for tests."""

from dataclasses import replace
from pathlib import Path

import torch
from conftest import FakeClock

from challenge.embedded_training.resumable import Checkpoints
from challenge.embedded_training.settings import TrainingSettings
from challenge.embedded_training.training_images import TrainingImages
from challenge.embedded_training.training_log import TrainingLog
from challenge.prompts import PromptBook, find_prompts_dir, load_prompt_book
from challenge.spec import DATASETS

CLASSES = 3
PER_CLASS = 12


class TickingClock(FakeClock):
    """Moves on by a second with each look."""

    def __call__(self) -> float:
        self.advance(1)
        return super().__call__()


def small_settings(out: Path) -> TrainingSettings:
    return TrainingSettings(
        data=Path("data"),
        out=out,
        feature_steps=1,
        text_steps=1,
        vae_steps=1,
        pixel_judge_steps=1,
        generator_steps=4,
        cifar_only_steps=2,
        classes_per_step=2,
        made_per_class=3,
        real_per_class=4,
    )


def small_data() -> list[TrainingImages]:
    rng = torch.Generator().manual_seed(0)
    data = []
    for spec in DATASETS.values():
        shape = (CLASSES, PER_CLASS, *spec.image_shape)
        images = torch.randint(0, 256, shape, generator=rng).to(torch.uint8)
        data.append(
            TrainingImages(
                replace(spec, num_classes=CLASSES),
                images[:, 2:],
                images[:, :2],
                [[""] * (PER_CLASS - 2)] * CLASSES,
            )
        )
    return data


def small_books() -> list[PromptBook]:
    folder = find_prompts_dir(None)
    books = [load_prompt_book(spec, folder, preset="diverse") for spec in DATASETS.values()]
    return [replace(book, classes=book.classes[:CLASSES]) for book in books]


def small_checkpoints(out: Path, save_every_s: float = 1e9) -> Checkpoints:
    clock = TickingClock()
    return Checkpoints(save_every_s, clock, TrainingLog(out / "log.jsonl", clock))
