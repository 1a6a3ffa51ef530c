"""Which decoder a run makes its images with: what ``--decoder`` says, or the cheapest good one.

A decoder of thumbnails is fitted to the model's own VAE inside the limit, when the images that it
wins are worth more than the seconds that it takes (``Choice.pays``), from costs measured on a small
batch. First the one in closed form; where that is not good enough, the trained one. What is not
good enough is not used, and said. With ``--ipc N`` the plan must not depend on the machine's speed,
so ``auto`` fits nothing there.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch

from challenge.budget import Choice
from challenge.errors import UsageError, WeightsError
from challenge.events import Notice
from challenge.generators.base import ImageGenerator
from challenge.generators.decoder_file import load_head, save_head
from challenge.generators.decoder_fitting import (
    GOOD_ENOUGH_DB,
    FitReport,
    HeadName,
    fit_decoder,
    head_ratio,
)
from challenge.generators.decoders import Decoder, ThumbnailDecoder, ThumbnailHead
from challenge.generators.loading import load_small_decoder
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.images import shrink
from challenge.prepared import note_use, prepared_file
from challenge.prompts import PromptBook
from challenge.run_parts import RunParts
from challenge.seeds import derive_seed
from challenge.settings import GenerateSettings
from challenge.spec import DatasetSpec

TRIAL_IMAGES = 8
THUMBNAIL_PAIRS = 1024
FEWEST_PAIRS, LINEAR_LATENTS = 64, 10_000  # for some hundred numbers in each closed form
TRAINING_SHARE, LONGEST_TRAINING_S = 0.03, 20.0  # of the time left
SOLVING_S = 0.5  # a guess: what the closed form takes beside its pairs

Books = Mapping[DatasetSpec, PromptBook]


def choose_decoders(
    settings: GenerateSettings, books: Books, generator: ImageGenerator, parts: RunParts
) -> dict[DatasetSpec, list[Choice]]:
    """Give the generator its decoders; returns what was weighed for each data set.

    Raises:
        UsageError: ``--decoder`` names one and the model has no latents.
        WeightsError: a decoder made by others, or one that an earlier process used, is not there.
    """
    choices: dict[DatasetSpec, list[Choice]] = {spec: [] for spec in books}
    if not isinstance(generator, OneStepGenerator):
        if settings.decoder not in ("auto", "vae"):
            raise UsageError(
                f"--decoder {settings.decoder}: {settings.model} has no latents to decode; "
                "leave --decoder away"
            )
        return choices
    if settings.decoder == "taesdxl":
        decoder = load_small_decoder(generator)
        for spec in books:
            generator.use_decoder(spec.image_size, decoder)
        return choices
    if settings.decoder == "vae":
        return choices
    for group in groups_of(books, generator):
        choices |= dict.fromkeys(group, _Chooser(settings, group, generator, parts).choose())
    return choices


def groups_of(books: Books, generator: OneStepGenerator) -> list[dict[DatasetSpec, PromptBook]]:
    """Data sets that share a decoder: the same full image, the same thumbnail."""
    groups: dict[tuple[int, int], dict[DatasetSpec, PromptBook]] = {}
    for spec, book in books.items():
        target = spec.image_size
        if not generator.has_decoder(target):
            key = generator.resolution(target), head_ratio(generator, target)
            groups.setdefault(key, {})[spec] = book
    return list(groups.values())


@dataclass(frozen=True)
class _Chooser:
    """Chooses for data sets that share a decoder."""

    settings: GenerateSettings
    group: Books
    generator: OneStepGenerator
    parts: RunParts

    def choose(self) -> list[Choice]:
        """Give the generator a decoder for these data sets, if one is worth it."""
        path = self.parts.run_dir / self._file_name
        if path.exists():  # an earlier process of this run made images with it
            head, report = load_head(path, self.parts.device, self._owner)
            self._use(ThumbnailDecoder(head), report)
            return []
        if self.parts.state.datasets:
            return []  # it began to make images without one
        if self._use_prepared():
            return []
        if self.settings.decoder == "linear" or self.settings.decoder == "thumbnail":
            self._fit(self.settings.decoder)
            return []
        return [] if self.settings.ipc != "auto" else self._weigh()

    def _use_prepared(self) -> bool:
        """Take the decoder that ``prepare`` left, if it is of the kind that was asked for."""
        if self.parts.prepared_dir is None:
            return False
        path = prepared_file(self.parts.prepared_dir, "decoder", self._owner)
        if not path.exists():
            return False
        started_s = self.parts.clock()
        try:
            head, report = load_head(path, self.parts.device, self._owner)
        except WeightsError as error:
            self._say(f"{error}: not used; run prepare again")
            return False
        decoder = ThumbnailDecoder(head)
        if self.settings.decoder not in ("auto", decoder.name):
            return False
        save_head(self.parts.run_dir / self._file_name, head, report, self._owner)
        self._use(decoder, report)
        note_use(self.parts, path, self.parts.clock() - started_s)
        return True

    def _weigh(self) -> list[Choice]:
        """Fit what pays, cheapest first, until one is good enough."""
        choices: list[Choice] = []
        full_s, unet_s = self._trial_s()
        names: tuple[HeadName, ...] = ("linear", "thumbnail")
        for name in names:
            left_s = self._left_s()
            cost_s = self._pairs(name) * full_s
            cost_s += SOLVING_S if name == "linear" else self._training_s()
            choices.append(Choice(f"{name} decoder", full_s / unet_s, cost_s, left_s))
            if not choices[-1].pays or self._fit(name):
                break
        return choices

    def _fit(self, name: HeadName) -> bool:
        """Fit one; use and keep it if it is good enough, else say so."""
        prompts = spread_prompts(list(self.group.values()), self._pairs(name))
        seeds = [derive_seed(self.settings.seed, "decoder", i) for i in range(len(prompts))]
        try:
            head, report = fit_decoder(
                name,
                self.generator,
                prompts,
                seeds,
                [spec.image_size for spec in self.group],
                budget_s=self._training_s(),
                clock=self.parts.clock,
            )
        except torch.OutOfMemoryError:
            self._say(f"no memory to fit the {name} decoder: the VAE decodes")
            return False
        if not report.good_enough:
            self._say(
                f"the {name} decoder reaches {decibels(report)} of the {GOOD_ENOUGH_DB:g} dB "
                "that are wanted: it is not used"
            )
            return False
        save_head(self.parts.run_dir / self._file_name, head, report, self._owner)
        self._use(ThumbnailDecoder(head), report)
        return True

    def _pairs(self, name: HeadName) -> int:
        return pair_count(name, self.generator, next(iter(self.group)).image_size)

    def _use(self, decoder: Decoder, report: FitReport) -> None:
        for spec in self.group:
            self.generator.use_decoder(spec.image_size, decoder)
        self.parts.notes[f"decoder {', '.join(spec.name for spec in self.group)}"] = {
            "name": decoder.name,
            **asdict(report),
        }
        seconds = report.pairs_s + report.train_s
        text = f"{decoder.name} decoder, fitted in {seconds:.1f} s: PSNR {decibels(report)}"
        self.parts.emit(Notice(text))

    def _trial_s(self) -> tuple[float, float]:
        """Seconds of an image by the VAE, and by the UNet and an untrained thumbnail decoder."""
        target = next(iter(self.group)).image_size
        generator, device = self.generator, self.parts.device
        prompts = spread_prompts(list(self.group.values()), TRIAL_IMAGES)
        resolution, ratio = generator.resolution(target), head_ratio(generator, target)
        head = ThumbnailDecoder(ThumbnailHead(generator.latent_channels, ratio).to(device))

        def seconds(decoder: Decoder) -> float:
            started_s = self.parts.clock()
            latents = generator.image_latents(prompts, range(TRIAL_IMAGES), resolution)
            shrink(decoder.decode(latents), target).cpu()
            return (self.parts.clock() - started_s) / TRIAL_IMAGES

        seconds(generator.vae_decoder)  # what is slow only once
        return seconds(generator.vae_decoder), seconds(head)

    def _left_s(self) -> float:
        """Seconds left for the images of these data sets."""
        settings = self.settings
        limits = len(settings.specs) if settings.limit_covers == "each" else 1
        spent_s = self.parts.clock() if settings.clock == "process" else 0.0
        share = len(self.group) / len(settings.specs)
        return max(0.0, settings.limit_s * limits - spent_s) * share

    def _training_s(self) -> float:
        return min(LONGEST_TRAINING_S, max(1.0, TRAINING_SHARE * self._left_s()))

    def _say(self, text: str) -> None:
        self.parts.emit(Notice(text, "warning"))

    @property
    def _file_name(self) -> str:
        return "decoder-" + "-".join(spec.name for spec in self.group) + ".safetensors"

    @property
    def _owner(self) -> dict[str, str | int]:
        target = next(iter(self.group)).image_size
        return head_owner(self.generator, target)


def pair_count(name: HeadName, generator: OneStepGenerator, target: int) -> int:
    """How many images a fit is made of."""
    if name == "thumbnail":
        return THUMBNAIL_PAIRS
    latents = (generator.resolution(target) // generator.vae_factor) ** 2
    return max(FEWEST_PAIRS, LINEAR_LATENTS // latents)


def head_owner(generator: OneStepGenerator, target: int) -> dict[str, str | int]:
    """What a head for images of this target is fitted to."""
    description = generator.description
    return {
        "weights": description.fingerprint or description.source,
        "dtype": description.dtype,
        "resolution": generator.resolution(target),
        "ratio": head_ratio(generator, target),
        "num_inference_steps": generator.num_inference_steps,
    }


def spread_prompts(books: Sequence[PromptBook], count: int) -> list[str]:
    """The first prompts of classes, evenly spread over the books."""
    firsts = [book.prompts_for(entry.index)[0] for book in books for entry in book.classes]
    chosen = [firsts[i * len(firsts) // count] for i in range(count)]
    random.Random(0).shuffle(chosen)  # so that any part of them is spread as well
    return chosen


def decibels(report: FitReport) -> str:
    """PSNR by size, for a person."""
    return ", ".join(
        f"{each.psnr_db:.1f} dB at {size} px" for size, each in report.fidelity.items()
    )
