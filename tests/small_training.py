"""A training run of the embedded model on a few random images of three classes, for tests."""

from dataclasses import replace
from pathlib import Path

import torch
from conftest import FakeClock

from challenge.embedded_training.feature_network import FeatureNetwork, freeze
from challenge.embedded_training.lessons import Lesson
from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.prompt_pool import PromptPool
from challenge.embedded_training.real_features import RealFeatures
from challenge.embedded_training.resumable import Checkpoints
from challenge.embedded_training.settings import TrainingSettings
from challenge.embedded_training.topics import class_topics
from challenge.embedded_training.training_images import TrainingImages
from challenge.embedded_training.training_log import TrainingLog
from challenge.generators.tiny import load_tiny_pipeline
from challenge.generators.tiny_networks import LATENT_PIXELS
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
        class_means_steps=1,
        drawn_for_means=2,
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


def small_lesson() -> Lesson:
    """CIFAR-100's three classes, judged by a feature network of random weights."""
    real, book = small_data()[0], small_books()[0]
    rng, cpu = torch.Generator().manual_seed(0), torch.device("cpu")
    latents = PatchLatents.fit([real.train.flatten(0, 1)], rng)
    torch.manual_seed(0)
    judge = freeze(FeatureNetwork(real.spec))
    topics = class_topics(real, book, seed=0)
    texts = [prompt for each in topics for prompt in each.prompts]
    prompts = PromptPool.of(load_tiny_pipeline(), texts, real.spec.image_size, cpu)
    features = RealFeatures.of(real, judge, latents, cpu)
    side = real.spec.image_size // LATENT_PIXELS
    return Lesson("cifar100", side, judge, features, topics, prompts)


def small_checkpoints(out: Path, save_every_s: float = 1e9) -> Checkpoints:
    clock = TickingClock()
    return Checkpoints(save_every_s, clock, TrainingLog(out / "log.jsonl", clock))
