"""Evaluates one entry and puts what was found into one document; accuracies are fractions.

``warnings`` are for people: chance level, permuted labels, a set that the public official script
refuses. Nothing is printed here.
"""

import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from challenge.evaluation.confusion import (
    at_chance_level,
    confusion_matrix,
    find_permutation,
    most_confused,
    per_class_accuracy,
)
from challenge.evaluation.entries import Entry
from challenge.evaluation.plain import plain_losses
from challenge.evaluation.protocol import (
    Forecast,
    Job,
    Progress,
    Tell,
    accuracies,
    endless_steps,
    evaluate_set,
    forecast,
    mean_and_std,
    synchronize,
)
from challenge.settings import EvaluateSettings
from challenge.spec import OFFICIAL_IPC, PROTOCOLS, LabelOrder

ORDERS: tuple[LabelOrder, ...] = ("sorted", "wnids-txt")
COMPARED_STEPS = 6  # of each loop, in turns, the first pair not counted
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Outcome:
    """An evaluated entry: its document, and what plots are drawn from."""

    entry: Entry
    document: dict[str, Any]
    confusion: Int64[Tensor, "C C"]


def jobs_of(entry: Entry, settings: EvaluateSettings) -> list[Job]:
    """One job for a set that serves all rounds, else one for each round's set."""
    job = Job(
        entry.trains[0],
        entry.test.images,
        entry.spec,
        PROTOCOLS[settings.protocol],
        network=settings.network,
        rounds=entry.rounds,
        seed=settings.seed,
        dtype=DTYPES[settings.precision],
        compiler="inductor" if settings.compile else None,
    )
    if len(entry.trains) == 1:
        return [job]
    return [
        replace(job, train=train, rounds=1, first_round=index)
        for index, train in enumerate(entry.trains)
    ]


def forecasts(entry: Entry, settings: EvaluateSettings) -> list[Forecast]:
    """What each job will take; sets of several rounds are alike, so one is measured."""
    jobs = jobs_of(entry, settings)
    first = forecast(jobs[0])
    return [replace(first, steps=job.schedule.steps) for job in jobs]


def evaluate_entry(
    entry: Entry, settings: EvaluateSettings, expected_s: float, tell: Tell
) -> Outcome:
    """Train and test; ``expected_s`` is what was forecast, for the record."""
    results = []
    for job in jobs_of(entry, settings):

        def tell_of_all(progress: Progress, first: int = job.first_round) -> None:
            tell(replace(progress, round_index=first + progress.round_index, rounds=entry.rounds))

        results.append(evaluate_set(job, tell_of_all))
    predictions = [each for result in results for each in result.predictions]
    train_accuracies = [value for result in results for value in result.train_accuracies]
    labels = entry.test_labels(entry.order_taken)
    found = accuracies(predictions, labels)
    mean, std = mean_and_std(found)
    confusion = confusion_matrix(predictions, labels, entry.spec.num_classes)
    document: dict[str, Any] = {
        "accuracy_mean": mean,
        "accuracy_std": std,
        "accuracies": found,
        "train_accuracy_mean": statistics.mean(train_accuracies),
        "train_accuracies": train_accuracies,
        "chance": 1 / entry.spec.num_classes,
        "seconds": sum(result.seconds for result in results),
        "forecast_s": expected_s,
        "images": entry.images,
        "ipc": entry.ipc,
        "labels_file": entry.reports[0].labels is not None,
        "label_order": entry.order_taken,
        "test_set": str(entry.test.source),
        "test_set_note": entry.test.note,
        "sha256": [report.sha256 for report in entry.reports],
    }
    if entry.order is None and entry.subset is None:
        by_order = {
            order: mean_and_std(accuracies(predictions, entry.test_labels(order)))[0]
            for order in ORDERS
        }
        document["accuracy_mean_by_label_order"] = by_order
    document |= _by_class(entry, confusion)
    document["warnings"], document["permutation"] = _warnings(entry, mean, predictions, labels)
    document["losses"] = [curve for result in results for curve in result.losses]
    if settings.compare_plain:
        document["plain"] = compare_plain(jobs_of(entry, settings)[0])
    return Outcome(entry, document, confusion)


def _by_class(entry: Entry, confusion: Int64[Tensor, "C C"]) -> dict[str, Any]:
    names = entry.class_names
    shares = per_class_accuracy(confusion)
    return {
        "accuracy_by_class": [
            {"label": label, "class": name, "accuracy": share}
            for label, (name, share) in enumerate(zip(names, shares, strict=True))
        ],
        "most_confused": [
            {"class": names[is_], "taken_for": names[seen], "share": share}
            for is_, seen, share in most_confused(confusion)
        ],
        # a row a class, as text: 40,000 numbers would be as many lines of the file
        "confusion": [" ".join(map(str, row)) for row in confusion.tolist()],
    }


def _warnings(
    entry: Entry, mean: float, predictions: list[Tensor], labels: Tensor
) -> tuple[list[str], dict[str, Any] | None]:
    """What the author must know, and the permutation that explains the result, if one does."""
    warnings = []
    spec = entry.spec
    if entry.refused_by_official_script:
        warnings.append(
            f"the public official script refuses this set: it takes {OFFICIAL_IPC} images a class "
            "and no labels file"
        )
    chance = at_chance_level(mean, spec.num_classes, len(labels))
    if chance:
        warnings.append(
            f"{mean:.2%} is chance level ({1 / spec.num_classes:.1%}): wrong labels, or images "
            "that show nothing"
        )
    found = find_permutation(predictions, labels, spec.name, spec.num_classes)
    if found is None:
        return warnings, None
    name = found.name or "an order that nobody is known to use"
    warnings.append(
        f"the labels look permuted: {found.accuracy:.2%} instead of {mean:.2%} if they are in "
        f"another order ({name}); write the classes in the order of the test set"
    )
    return warnings, {
        "name": found.name,
        "accuracy": found.accuracy,
        "agreement": found.agreement,
        "class_of_label": list(found.order),
    }


def compare_plain(job: Job) -> dict[str, float]:
    """Seconds a step and round of our loop and of the straightforward one, measured in turns."""
    ours, at_once = endless_steps(job)
    loops = {"step_s": ours, "plain_step_s": plain_losses(job)}
    times_s: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(COMPARED_STEPS):
        for name, steps in loops.items():
            started_s = time.perf_counter()
            next(steps)
            synchronize(job.train.images)
            times_s[name].append(time.perf_counter() - started_s)
    medians = {name: statistics.median(values[1:]) for name, values in times_s.items()}
    medians["step_s"] /= at_once
    return medians | {"speed_up": medians["plain_step_s"] / medians["step_s"]}
