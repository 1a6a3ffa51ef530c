"""What the page shows of one data set of a run: classes, colours, duplicates, evaluation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from markupsafe import Markup

from challenge.class_names import class_order
from challenge.errors import PromptError
from challenge.measures.image_sets import ImageSet, ImageSource
from challenge.measures.measure import class_titles, search_duplicates
from challenge.prompt_grammar import counted_shares
from challenge.prompts import (
    PROMPTS_PER_CLASS,
    PromptBook,
    find_prompts_dir,
    load_prompt_book,
)
from challenge.report.charts import class_chart, confusion_chart, line_chart
from challenge.report.colour_rows import colour_rows
from challenge.report.run_folder import Document, RunFolder
from challenge.report.strips import Strip, bytes_of, spread, strip
from challenge.report.timeline import speed_curve
from challenge.spec import DATASETS, DatasetName, DatasetSpec

SEARCHED = 20_000  # images among which near-duplicates are looked for
SHOWN_PAIRS, SHOWN_WORST, SHOWN_PROMPTS = 12, 8, 8
SHOWN_TEXTS = 6  # of a part of the prompts
TRIED_CLASSES = 10  # whose pictures say how large the others will be


@dataclass(frozen=True)
class ClassRow:
    """One class: what was made of it, what is real, how well it is told."""

    label: int
    name: str
    count: int
    made: Strip | None
    real: Strip | None
    accuracy: float | None
    interval: tuple[float, float] | None
    taken_for: str | None
    prompts: tuple[str, ...]
    pool: int
    shares: dict[str, list[tuple[str, float]]]


@dataclass(frozen=True)
class DatasetSection:
    """One data set of a run; what could not be made is None or empty."""

    spec: DatasetSpec
    record: Document
    what: str
    images: int
    classes: list[ClassRow]
    shown_per_class: int
    prompts_note: str | None
    speed: Markup | None
    colours: list[tuple[str, str, str, str]]
    duplicates: Document | None
    pairs: list[tuple[str, Strip]]
    evaluation: Document | None
    matrix: Markup | None
    by_class: Markup | None

    @property
    def worst(self) -> list[ClassRow]:
        """The classes that are told worst."""
        known = [row for row in self.classes if row.accuracy is not None]
        return sorted(known, key=lambda row: row.accuracy or 0.0)[:SHOWN_WORST]


def dataset_section(
    run: RunFolder, name: DatasetName, real: ImageSource | None, wanted: int, budget: int
) -> DatasetSection:
    """All there is of this data set; pictures take ``budget`` bytes at most."""
    spec, made = DATASETS[name], run.image_sets.get(name)
    evaluation = run.evaluations.get(name)
    book, note = _book(run, spec)
    shown = _images_that_fit(made, real, wanted, budget)
    found = search_duplicates(made, torch.device("cpu"), SEARCHED) if made else None
    confusion = _confusion(evaluation)
    classes = _class_rows(spec, made, real, shown, evaluation, confusion, book)
    known = [row for row in classes if row.interval is not None]
    return DatasetSection(
        spec=spec,
        record=run.record.get("datasets", {}).get(name, {}),
        what=made.what if made else "",
        images=made.count if made else 0,
        classes=classes,
        shown_per_class=shown,
        prompts_note=note,
        speed=line_chart({"images/s": speed_curve(run, name)}, "seconds", "images/s"),
        colours=colour_rows(spec, made, real),
        duplicates=found,
        pairs=_pairs(made, found),
        evaluation=evaluation,
        matrix=confusion_chart(confusion) if confusion is not None else None,
        by_class=class_chart(
            [row.accuracy or 0.0 for row in known],
            [_error_bar(row.accuracy or 0.0, row.interval or (0.0, 0.0)) for row in known],
        )
        if known
        else None,
    )


def _images_that_fit(
    made: ImageSet | None, real: ImageSource | None, wanted: int, budget: int
) -> int:
    """Pictures a class for which the page stays small, told from a few classes."""
    if made is None:
        return 0
    classes = spread(made.spec.num_classes, TRIED_CLASSES)
    tried = [_strip(images, index, wanted) for index in classes for images in (made.images, real)]
    an_image = bytes_of(tried) / max(1, len(classes) * wanted)
    return max(1, min(wanted, int(budget / max(1.0, an_image * made.spec.num_classes))))


def _strip(images: ImageSource | None, class_index: int, wanted: int) -> Strip | None:
    if images is None:
        return None
    return strip(images.read(class_index, spread(images.counts[class_index], wanted)))


def _class_rows(
    spec: DatasetSpec,
    made: ImageSet | None,
    real: ImageSource | None,
    shown: int,
    evaluation: Document | None,
    confusion: Int64[np.ndarray, "C C"] | None,
    book: PromptBook | None,
) -> list[ClassRow]:
    """A row a class, in the order of sorted names."""
    names = class_titles(spec)
    accuracy = _accuracies(spec, evaluation)
    order = class_order(spec.name, (evaluation or {}).get("label_order", "sorted"))
    rows = []
    for index, name in enumerate(names):
        pool = book.compositions(index) if book else ()
        told = None if confusion is None else _told(confusion, order.index(index), order, names)
        rows.append(
            ClassRow(
                label=index,
                name=name,
                count=made.images.counts[index] if made else 0,
                made=_strip(made.images if made else None, index, shown),
                real=_strip(real, index, shown),
                accuracy=accuracy.get(index),
                interval=told[0] if told else None,
                taken_for=told[1] if told else None,
                prompts=tuple(each.prompt for each in pool[:SHOWN_PROMPTS]),
                pool=len(pool),
                shares=_most(counted_shares(pool)),
            )
        )
    return rows


def _most(shares: dict[str, list[tuple[str, float]]]) -> dict[str, list[tuple[str, float]]]:
    """The largest shares of each part of a prompt that is not always the same."""
    return {slot: texts[:SHOWN_TEXTS] for slot, texts in shares.items() if len(texts) > 1}


def _accuracies(spec: DatasetSpec, evaluation: Document | None) -> dict[int, float]:
    """By the place of the class among the sorted names."""
    if evaluation is None:
        return {}
    order = class_order(spec.name, evaluation.get("label_order", "sorted"))
    return {
        order[each["label"]]: each["accuracy"]
        for each in evaluation.get("accuracy_by_class", ())
        if each["accuracy"] is not None
    }


def _confusion(evaluation: Document | None) -> Int64[np.ndarray, "C C"] | None:
    """The matrix as numbers; None where an older program left it out."""
    rows = (evaluation or {}).get("confusion")
    if not rows:
        return None
    return np.array([[int(cell) for cell in row.split()] for row in rows])


def _told(
    confusion: Int64[np.ndarray, "C C"], label: int, order: Sequence[int], names: Sequence[str]
) -> tuple[tuple[float, float], str | None]:
    """The 95 % interval of a class's accuracy, and what it is most often taken for."""
    row = confusion[label].copy()
    right, total = int(row[label]), int(row.sum())
    row[label] = 0
    most = int(row.argmax())
    taken_for = f"{names[order[most]]} {row[most] / max(1, total):.0%}" if row[most] else None
    return wilson(right, total), taken_for


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), from ``right`` of ``total``."""
    if not total:
        return 0.0, 1.0
    z, share = 1.96, right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    return max(0.0, middle - half), min(1.0, middle + half)


def _error_bar(accuracy: float, interval: tuple[float, float]) -> tuple[float, float]:
    return max(0.0, accuracy - interval[0]), max(0.0, interval[1] - accuracy)


def _pairs(made: ImageSet | None, found: Document | None) -> list[tuple[str, Strip]]:
    """The pairs most alike, with their pictures."""
    if made is None or found is None:
        return []
    pairs = []
    for pair in found["most_alike"][:SHOWN_PAIRS]:
        first, second = pair["images"]
        images = [made.images.read(each["label"], [each["place"]]) for each in (first, second)]
        drawn = strip(torch.cat(images))
        assert drawn is not None  # two images
        names = dict.fromkeys([first["class"], second["class"]])
        pairs.append((f"{' and '.join(names)}, {pair['alike']:.3f}", drawn))
    return pairs


def _book(run: RunFolder, spec: DatasetSpec) -> tuple[PromptBook | None, str | None]:
    """The prompt book that the run used, as far as it is still there and the same."""
    recorded = run.record.get("prompts", {}).get(spec.name)
    if recorded is None:
        return None, "run.json does not say which prompts were used"
    given = run.record.get("settings", {}).get("prompts_dir")
    try:
        book = load_prompt_book(
            spec,
            find_prompts_dir(Path(given) if given else None),
            preset=recorded.get("preset", "plain"),
            per_class=recorded.get("per_class") or PROMPTS_PER_CLASS,
        )
    except PromptError as error:
        return None, f"the prompts cannot be shown: {error}"
    if book.sha256 != recorded.get("sha256"):
        return book, f"{book.path.name} was edited since this run; these are the prompts of now"
    return book, None


def accuracy_text(evaluation: Document | None) -> str:
    """Accuracy with its spread, in words; empty without an evaluation."""
    if evaluation is None:
        return ""
    mean, std = evaluation["accuracy_mean"], evaluation.get("accuracy_std")
    rounds = len(evaluation.get("accuracies", ()))
    spread_text = f" ± {std:.2%} over {rounds} rounds" if std is not None else ", one round"
    return f"{mean:.2%}{spread_text}"
