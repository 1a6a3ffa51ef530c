"""The stages of a training run, each kept in a file: what is there is not made again.

latents.pt           the linear map of 4x4 pixels to latents
text.pt              the text encoders; vocabulary.json beside it
vae.pt               encoder and decoder
pixel_judge_N.pt     networks that look at pixels
features_NAME.pt     a feature network for each data set
*_begun.pt           one of these in the making, saved now and then (not a judge: some minutes)
generator.pt         the UNet's training, likewise
class_shifts_NAME_N.pt   by what the means of the classes of UNet N are to be moved
class_means_N.pt     the UNet of step N with the classes' means moved to the real ones
recipe.json          the settings that all these were made with
model/, samples_NAME.png   what comes out
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel

from challenge.embedded_training.class_means import (
    ClassMeansTraining,
    ClassShifts,
    class_shifts,
    drawing_copy,
)
from challenge.embedded_training.feature_network import FeatureNetwork, freeze
from challenge.embedded_training.feature_training import FeatureTraining, validation_accuracy
from challenge.embedded_training.generator_training import GeneratorTraining
from challenge.embedded_training.lessons import Lesson, LessonPlan
from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.pixel_judges import JUDGES, PixelJudges, train_pixel_judge
from challenge.embedded_training.prompt_pool import PromptPool
from challenge.embedded_training.real_features import RealFeatures
from challenge.embedded_training.recipe import (
    GENERATOR_FILE,
    features_stage,
    keep_recipe,
    require_startable,
)
from challenge.embedded_training.resumable import (
    Checkpoints,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from challenge.embedded_training.settings import TrainingSettings
from challenge.embedded_training.text_training import TextTraining, learn_vocabulary
from challenge.embedded_training.topics import class_topics
from challenge.embedded_training.training_images import TrainingImages, load_training_images
from challenge.embedded_training.training_log import Clock, TrainingLog
from challenge.embedded_training.vae_training import VaeTraining, decoded_psnr
from challenge.embedded_training.wording import all_texts
from challenge.environment import device_title
from challenge.errors import OutputError, first_line
from challenge.evaluation.classifier import new_convnet
from challenge.evaluation.convnet import ConvNet
from challenge.generators.one_step import OneStep, only_step
from challenge.generators.tiny import VOCABULARY_FILE, Vocabulary, build_pipeline
from challenge.generators.tiny_networks import LATENT_PIXELS
from challenge.prompts import PromptBook, find_prompts_dir, load_prompt_book
from challenge.records import explaining_os_errors
from challenge.seeds import derive_seed
from challenge.spec import DATASETS


@dataclass(frozen=True)
class TrainedModel:
    """What a run comes to."""

    pipe: StableDiffusionXLPipeline
    vocabulary: Vocabulary
    generator_steps: int
    device: str


@dataclass(frozen=True)
class TrainingRun:
    """One run in ``settings.out``: its inputs, and the stages that make the pipeline's networks."""

    settings: TrainingSettings
    device: torch.device
    data: list[TrainingImages]
    books: list[PromptBook]
    clock: Clock
    log: TrainingLog

    @classmethod
    def open(cls, settings: TrainingSettings, device: torch.device, clock: Clock) -> "TrainingRun":
        """Read the training images and the prompt books; then the folder is made.

        Raises:
            DataError: a data set is missing or damaged.
            OutputError: the folder cannot be made, or what is in it cannot be read.
            UsageError: it holds stages that were made with other settings, or nothing to export.
        """
        require_startable(settings)
        folder = find_prompts_dir(None)
        books = [load_prompt_book(spec, folder, preset="diverse") for spec in DATASETS.values()]
        data = [
            load_training_images(spec, settings.data, settings.seed) for spec in DATASETS.values()
        ]
        with explaining_os_errors(settings.out):
            settings.out.mkdir(parents=True, exist_ok=True)
        log = TrainingLog(settings.out / "log.jsonl", clock)
        return cls(settings, device, data, books, clock, log)

    def train(self) -> TrainedModel:
        """All stages in turn; ``OutputError`` when a file of a stage is damaged."""
        keep_recipe(self.settings)
        vocabulary = self._vocabulary()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._seed("weights"))
            pipe = build_pipeline(vocabulary)
            latents = self._latents()
            self._text(pipe)
            self._vae(pipe, latents)
            plan = self._plan(pipe, latents)
            generator_steps = self._generator(pipe, latents, plan)
            self._class_means(pipe, plan, generator_steps)
        return TrainedModel(pipe, vocabulary, generator_steps, device_title(self.device))

    def _seed(self, *what: str) -> int:
        return derive_seed(self.settings.seed, "embedded training", *what)

    def _rng(self, *what: str) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(*what))

    @property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.settings.save_every_s, self.clock, self.log)

    def _kept(self, name: str, make: Callable[[Path], Any]) -> Any:
        """What stands in the file of a finished stage; else what ``make`` makes, kept there.

        ``make`` gets the path of a checkpoint, which is deleted when the stage is finished.
        """
        path, checkpoint = (self.settings.out / f"{name}{part}.pt" for part in ("", "_begun"))
        if not path.is_file():
            with self.log.stage(name), torch.random.fork_rng(devices=[]):
                # whichever stages stood already: a stage begins with the same weights
                torch.default_generator.manual_seed(self._seed(name))
                save_checkpoint(make(checkpoint), path)
        checkpoint.unlink(missing_ok=True)
        return read_checkpoint(path)

    def _vocabulary(self) -> Vocabulary:
        path = self.settings.out / VOCABULARY_FILE
        if not path.is_file():
            path.write_text(learn_vocabulary(all_texts(self.books)).to_json() + "\n", "utf-8")
        try:
            return Vocabulary.from_json(path.read_text("utf-8"))
        except (ValueError, LookupError, TypeError) as error:
            raise OutputError(
                f"{path} is damaged ({first_line(error)}); the text encoders were learnt with it: "
                "give another --out"
            ) from error

    def _latents(self) -> PatchLatents:
        images = [real.train.flatten(0, 1) for real in self.data]
        make = lambda _: PatchLatents.fit(images, self._rng("latents")).state()  # noqa: E731
        return PatchLatents(**self._kept("latents", make))

    def _text(self, pipe: StableDiffusionXLPipeline) -> None:
        encoders = {"first": pipe.text_encoder, "second": pipe.text_encoder_2}

        def make(checkpoint: Path) -> dict[str, Any]:
            steps = self.settings.text_steps
            training = TextTraining(pipe, self.books, steps, seed=self._seed("text"))
            self._checkpoints.run(training, steps, checkpoint)
            return {name: encoder.state_dict() for name, encoder in encoders.items()}

        for name, state in self._kept("text", make).items():
            encoders[name].load_state_dict(state)
            encoders[name].eval()

    def _vae(self, pipe: StableDiffusionXLPipeline, latents: PatchLatents) -> None:
        vae, steps = pipe.vae, self.settings.vae_steps

        def make(checkpoint: Path) -> dict[str, Any]:
            training = VaeTraining(
                vae, self.data, latents, steps, rng=self._rng("vae"), device=self.device
            )
            self._checkpoints.run(training, steps, checkpoint)
            vae.to("cpu").eval()
            for real in self.data:
                self.log.result(**{f"psnr_{real.spec.name}": decoded_psnr(vae, real, latents)})
            state: dict[str, Any] = vae.state_dict()
            return state

        vae.load_state_dict(self._kept("vae", make))

    def _plan(self, pipe: StableDiffusionXLPipeline, latents: PatchLatents) -> LessonPlan:
        first = self.data[0]

        def prepare(real: TrainingImages, book: PromptBook) -> Lesson:
            start = None if real is first else self._feature_network(first, latents, None)
            judge = freeze(self._feature_network(real, latents, start))
            name, size = real.spec.name, real.spec.image_size
            features = RealFeatures.of(real, judge, latents, self.device)
            topics = class_topics(real, book, self._seed("prompts", name))
            texts = [prompt for each in topics for prompt in each.prompts]
            prompts = PromptPool.of(pipe, texts, size, self.device)
            return Lesson(name, size // LATENT_PIXELS, judge, features, topics, prompts)

        return LessonPlan(
            [partial(prepare, *each) for each in zip(self.data, self.books, strict=True)],
            self.settings.cifar_only_steps,
        )

    def _feature_network(
        self, real: TrainingImages, latents: PatchLatents, start: FeatureNetwork | None
    ) -> FeatureNetwork:
        def make(checkpoint: Path) -> dict[str, Any]:
            steps, rng = self.settings.feature_steps, self._rng("features", real.spec.name)
            training = FeatureTraining(
                real, latents, steps, start=start, rng=rng, device=self.device
            )
            self._checkpoints.run(training, steps, checkpoint)
            accuracy = validation_accuracy(training.network, real, latents, self.device)
            self.log.result(validation_accuracy=accuracy)
            return training.network.state_dict()

        network = FeatureNetwork(real.spec).to(self.device)
        network.load_state_dict(self._kept(features_stage(real.spec.name), make))
        return network

    def _pixel_judge(self, number: int) -> ConvNet:
        real = self.data[0]

        def make(_: Path) -> dict[str, Any]:
            return train_pixel_judge(
                real,
                self.settings.pixel_judge_steps,
                seed=self._seed("pixel judge", str(number)),
                device=self.device,
                log=self.log,
            ).state_dict()

        network = new_convnet(real.spec, 0, self.device)
        network.load_state_dict(self._kept(f"pixel_judge_{number}", make))
        return network.eval().requires_grad_(False)

    def _generator(
        self, pipe: StableDiffusionXLPipeline, latents: PatchLatents, plan: LessonPlan
    ) -> int:
        step = only_step(pipe.scheduler, self.device)
        judges = PixelJudges([self._pixel_judge(number) for number in range(JUDGES)], latents)
        training = GeneratorTraining(
            pipe.unet,
            step,
            plan,
            judges,
            self.settings,
            seed=self._seed("generator"),
            device=self.device,
        )
        checkpoint = self.settings.out / GENERATOR_FILE
        if self.settings.export_now:  # only read: another process may be training on it
            load_checkpoint(training, checkpoint)
        else:
            self._train_generator(training, checkpoint)
        pipe.unet.load_state_dict(training.average.state_dict())
        return training.steps_done

    def _train_generator(self, training: GeneratorTraining, checkpoint: Path) -> None:
        def measure() -> None:
            for lesson in training.plan.begun:
                self.log.result(step=training.steps_done, **training.measure(lesson))

        steps = self.settings.generator_steps
        if not (self.settings.out / GENERATOR_FILE).is_file():  # of a UNet that is there no more
            for made_for_another in self.settings.out.glob("class_*.pt"):
                made_for_another.unlink()
        with self.log.stage("generator"):
            self._checkpoints.run(training, steps, checkpoint, on_save=measure)

    def _class_means(
        self, pipe: StableDiffusionXLPipeline, plan: LessonPlan, generator_steps: int
    ) -> None:
        step, steps = only_step(pipe.scheduler, self.device), self.settings.class_means_steps

        def make(checkpoint: Path) -> dict[str, Any]:
            training = ClassMeansTraining(
                pipe.unet,
                step,
                [
                    (lesson, self._class_shifts(pipe.unet, step, lesson, generator_steps))
                    for lesson in plan.all()
                ],
                steps,
                seed=self._seed("class means"),
                device=self.device,
            )
            self._checkpoints.run(training, steps, checkpoint)
            return training.result()

        pipe.unet.load_state_dict(self._kept(f"class_means_{generator_steps}", make))

    def _class_shifts(
        self, unet: UNet2DConditionModel, step: OneStep, lesson: Lesson, generator_steps: int
    ) -> ClassShifts:
        def make(_: Path) -> dict[str, Any]:
            drawn, rng = self.settings.drawn_for_means, self._rng("shifts", lesson.name)
            shifts = class_shifts(drawing_copy(unet, self.device), step, lesson, drawn, rng)
            self.log.result(root_mean_square=float(shifts.square().mean().sqrt()))
            return {"shifts": shifts}

        kept = self._kept(f"class_shifts_{lesson.name}_{generator_steps}", make)
        shifts: ClassShifts = kept["shifts"].to(self.device)
        return shifts
