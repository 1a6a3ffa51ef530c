"""Measures on real images what helps a training set: copies, views, framing, colour, right labels.

    python tests/measure_what_helps.py --data DIR --out what-helps.jsonl --minutes 90
    python tests/measure_what_helps.py --table what-helps.jsonl

Real CIFAR-100 training images stand for a perfect text-to-image model; faults that a real one has
are put into them here. Everything else is the program's own: framing, colour, copies, the
challenge's network with its augmentation. To keep a run under a minute on one core the protocol is
``quick`` made smaller: 20 classes (every fifth), network width 64, 240 updates with batches of 128,
bfloat16. So the numbers rank choices; they are no accuracies of the challenge. One line a run is
appended; runs that are there are not repeated. A seed draws images, copies and network, so runs of
one seed can be compared pair by pair.
"""

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import torch
from kornia.geometry.transform import get_rotation_matrix2d, warp_affine
from torch import Tensor

from challenge.augment import augment_images
from challenge.colour import ColourMatch, measure_look
from challenge.datasets import load_test_set
from challenge.evaluation import convnet, training
from challenge.evaluation.protocol import Job, accuracies, evaluate_set
from challenge.evaluation.training import TrainingSet
from challenge.framing import FRAMINGS, Framing, Windows, cut_out, draw_windows
from challenge.images import from_uint8
from challenge.seeds import derive_seed
from challenge.settings import AugmentPreset, FramingPreset
from challenge.spec import CIFAR100, EVALUATOR, LOOKS, Protocol
from challenge.submission import normalize
from challenge.train_images import load_train_images

CLASSES = list(range(0, 100, 5))
SPEC = replace(CIFAR100, num_classes=len(CLASSES))
SMALLER = replace(EVALUATOR, width=64, batch_size=128)
PROTOCOL = Protocol("quick", rounds=1, updates=240, comparable=False)
POOL = 200  # images of each class to draw from
SEEDS = 3
Fault = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Experiment:
    """A training set to be tried: ``distinct`` images a class with a fault, mended, and copies."""

    group: str
    name: str
    distinct: int
    fault: Fault | None = None  # of pictures of twice the size where ``framing`` is given
    framing: Framing | None = None
    match_colour: bool = False
    copies: int = 0
    augment: AugmentPreset = "none"
    views: FramingPreset | None = None  # copies are windows instead
    wrong_labels: float = 0.0
    shift_classes: int = 0

    @property
    def key(self) -> str:
        """What a line of the file is found by."""
        return f"{self.group}: {self.name}, {self.distinct}"


COPIES = {
    "none": Experiment("copies", "", 0),
    "upright x1": Experiment("copies", "", 0, augment="upright", copies=1),
    "upright x4": Experiment("copies", "", 0, augment="upright", copies=4),
    "banko x4": Experiment("copies", "", 0, augment="banko", copies=4),
    "strong x4": Experiment("copies", "", 0, augment="strong", copies=4),
    "flip x1": Experiment("copies", "", 0, augment="flip", copies=1),
    "4 more views, tight": Experiment("copies", "", 0, views="tight", copies=4),
}


def warped(zoom: float, shift: float) -> Fault:
    """All pictures zoomed, and shifted right and down by a share of the side; mirrored borders."""

    def fault(pictures: Tensor) -> Tensor:
        count, size = len(pictures), pictures.shape[-1]
        centre = torch.full((count, 2), size / 2 - 0.5)
        matrix = get_rotation_matrix2d(centre, torch.zeros(count), torch.full((count, 2), zoom))
        matrix[:, :, 2] += shift * size
        moved: Tensor = warp_affine(pictures, matrix, (size, size), padding_mode="reflection")
        return moved.clamp(0, 1)

    return fault


def saturated(factor: float) -> Fault:
    """All colours times ``factor``; 0 is grey."""

    def fault(pictures: Tensor) -> Tensor:
        grey = pictures.mean(dim=1, keepdim=True)
        return (grey + factor * (pictures - grey)).clamp(0, 1)

    return fault


def experiments() -> Iterator[Experiment]:
    """All of them, in the order of the table."""
    for distinct, names in (
        (20, ("none", "upright x4", "banko x4", "flip x1", "4 more views, tight", "strong x4")),
        (100, ("none", "upright x4", "banko x4", "flip x1", "upright x1")),
        (10, ("none", "upright x4", "banko x4", "strong x4")),
        (10, ("flip x1", "4 more views, tight")),
        (100, ("strong x4", "4 more views, tight")),
    ):
        for name in names:
            yield replace(COPIES[name], distinct=distinct, name=name)
    whole, tight = FRAMINGS["whole"], FRAMINGS["tight"]
    zoomed_in, zoomed_out = warped(1.3, 0.0), warped(1 / 1.3, 0.0)
    shifted, exact = warped(1.0, 0.125), Framing(side=(1 / 1.3, 1 / 1.3))
    upright = {"copies": 4, "augment": "upright"}
    for name, fault, framing, options in (
        ("right", None, whole, {}),
        ("right, half mirrored", None, FRAMINGS["mirror"], {}),
        ("right, tight windows", None, tight, {}),
        ("right, wide windows", None, FRAMINGS["wide"], {}),
        ("zoomed in 1.3", zoomed_in, whole, {}),
        ("zoomed in 1.3, upright x4", zoomed_in, whole, upright),
        ("zoomed out 1.3", zoomed_out, whole, {}),
        ("zoomed out 1.3, tight windows", zoomed_out, tight, {}),
        ("zoomed out 1.3, exact window", zoomed_out, exact, {}),
        ("shifted 4 px", shifted, whole, {}),
        ("shifted 4 px, tight windows", shifted, tight, {}),
    ):
        yield Experiment("framing", name, 100, fault, framing, **options)  # type: ignore[arg-type]
    for factor in (0.5, 1.5, 2.5):
        name, fault = f"saturation {factor:g}", saturated(factor)
        yield Experiment("colour", name, 100, fault)
        yield Experiment("colour", f"{name}, matched", 100, fault, match_colour=True)
    yield Experiment("colour", "grey", 100, saturated(0.0))
    yield Experiment("colour", "right, matched", 100, match_colour=True)
    for share in (0.1, 0.2, 0.4):
        yield Experiment("labels", f"{share:.0%} wrong", 100, wrong_labels=share)
    yield Experiment("labels", "classes shifted by one", 100, shift_classes=1)


def make_set(experiment: Experiment, real: Tensor, seed: int) -> TrainingSet:
    """The training set of an experiment from real images [classes, pool, 3, 32, 32]."""
    rng = torch.Generator().manual_seed(derive_seed(seed, "draw"))
    chosen = torch.randperm(POOL, generator=rng)[: experiment.distinct]
    images = from_uint8(real[:, chosen]).flatten(0, 1)
    labels = torch.arange(len(CLASSES)).repeat_interleave(experiment.distinct)
    seeds = [derive_seed(seed, "image", place) for place in range(len(images))]
    if experiment.wrong_labels:
        wrong = torch.rand(len(labels), generator=rng) < experiment.wrong_labels
        others = torch.randint(1, len(CLASSES), labels.shape, generator=rng)
        labels = torch.where(wrong, (labels + others) % len(CLASSES), labels)
    labels = (labels + experiment.shift_classes) % len(CLASSES)
    if experiment.framing is not None:
        images = cut_out(images, Windows.whole(images), 64, "bilinear")
    if experiment.fault is not None:
        images = experiment.fault(images)
    if experiment.framing is not None:
        windows = draw_windows(seeds, 64, experiment.framing)
        images = cut_out(images, windows, 32, "bilinear")
    if experiment.match_colour:
        match = ColourMatch(measure_look(images), LOOKS["cifar100"])
        images = match.apply(images, seeds)
    every = [images, *(_copy(experiment, images, seed, k) for k in range(experiment.copies))]
    train = normalize(torch.cat(every), CIFAR100)
    return TrainingSet(train, labels.repeat(len(every)))


def _copy(experiment: Experiment, images: Tensor, seed: int, number: int) -> Tensor:
    seeds = [derive_seed(seed, "copy", number, place) for place in range(len(images))]
    if experiment.views is None:
        return augment_images(images, seeds, experiment.augment)
    windows = draw_windows(seeds, images.shape[-1], FRAMINGS[experiment.views])
    return cut_out(images, windows, images.shape[-1], "bilinear")


def score(train: TrainingSet, test: tuple[Tensor, Tensor], seed: int) -> float:
    """Accuracy of a network trained on the set."""
    images, labels = test
    job = Job(train, images, SPEC, PROTOCOL, seed=seed, dtype=torch.bfloat16)
    with (
        mock.patch.object(convnet, "EVALUATOR", SMALLER),
        mock.patch.object(training, "EVALUATOR", SMALLER),
    ):
        return accuracies(evaluate_set(job, lambda _: None).predictions, labels)[0]


def measure(data: Path, out: Path, minutes: float) -> None:
    """Run what is not in ``out`` yet, all experiments of one seed before those of the next."""
    stop_s = time.monotonic() + 60 * minutes
    done = {(line["key"], line["seed"]) for line in read_lines(out)}
    real = load_train_images(CIFAR100, data, POOL, seed=0).view(100, POOL, 3, 32, 32)[CLASSES]
    found = load_test_set(CIFAR100, data)
    mine = torch.isin(found.labels, torch.tensor(CLASSES))
    test = found.images[mine], found.labels[mine] // 5
    for seed in range(SEEDS):
        for experiment in experiments():
            if (experiment.key, seed) in done or time.monotonic() > stop_s:
                continue
            started_s = time.monotonic()
            train = make_set(experiment, real, seed)
            line = {
                "key": experiment.key,
                "seed": seed,
                "accuracy": score(train, test, seed),
                "images": len(train.images),
                "seconds": round(time.monotonic() - started_s, 1),
            }
            with out.open("a") as file:
                file.write(json.dumps(line) + "\n")


def read_lines(path: Path) -> list[dict[str, object]]:
    """The runs in a file; none when there is no file yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def table(path: Path) -> str:
    """Mean and standard deviation of each experiment, as Markdown."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in read_lines(path):
        found[str(line["key"])].append(float(str(line["accuracy"])))
    rows = ["| set | accuracy, % | seeds |", "|---|---|---|"]
    for experiment in experiments():
        values = [100 * value for value in found.get(experiment.key, [])]
        if values:
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            rows.append(
                f"| {experiment.key} | {statistics.mean(values):.1f}{spread} | {len(values)} |"
            )
    return "\n".join(rows)


def main() -> None:
    """Read the command line, then measure or show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("what-helps.jsonl"))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table is None:
        measure(arguments.data, arguments.out, arguments.minutes)
    sys.stdout.write(table(arguments.table or arguments.out) + "\n")


if __name__ == "__main__":
    main()
