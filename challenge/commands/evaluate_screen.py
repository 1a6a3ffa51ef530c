"""The end of the ``evaluate`` command: the table side by side, and a few lines on each set."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from challenge.console import TITLES, make_table, results
from challenge.spec import DATASETS

if TYPE_CHECKING:
    from challenge.evaluation.outcome import Outcome

SHOWN_PAIRS, SHOWN_CLASSES = 5, 3


def show_result(document: dict[str, Any], outcomes: "list[Outcome]", written: list[Path]) -> None:
    """A table of all submissions side by side, then what is worth a look in each."""
    rows = [
        (
            submission["path"],
            *(_cell(submission["datasets"].get(name)) for name in DATASETS),
            "" if submission["score"] is None else f"{submission['score']:.2%}",
        )
        for submission in document["submissions"]
    ]
    screen = results()
    headings = ("accuracy on the real test set", *(TITLES[name] for name in DATASETS), "score")
    screen.print(make_table(headings, rows))
    for outcome in outcomes:
        for line in _remarks(outcome):
            screen.print(line, soft_wrap=True, markup=False)
    comparable = "" if document["comparable"] else "; not comparable with published numbers"
    screen.print(
        f"protocol {document['protocol']}, network {document['network']}, "
        f"rounds: {document['rounds']}{comparable}"
    )
    for path in written:
        screen.print(str(path), soft_wrap=True, markup=False)


def _remarks(outcome: "Outcome") -> list[str]:
    """Rounds, classes, confusions and warnings of one set, a line each."""
    document = outcome.document
    accuracies = " ".join(f"{value:.2%}" for value in document["accuracies"])
    by_class = sorted(
        (entry["accuracy"], entry["class"])
        for entry in document["accuracy_by_class"]
        if entry["accuracy"] is not None
    )
    best = ", ".join(f"{name} {share:.0%}" for share, name in by_class[: -SHOWN_CLASSES - 1 : -1])
    worst = ", ".join(f"{name} {share:.0%}" for share, name in by_class[:SHOWN_CLASSES])
    pairs = ", ".join(
        f"{pair['class']} for {pair['taken_for']} {pair['share']:.0%}"
        for pair in document["most_confused"][:SHOWN_PAIRS]
    )
    lines = [
        outcome.entry.title,
        f"  rounds {accuracies}; on its own images {document['train_accuracy_mean']:.1%}; "
        f"{document['seconds']:.0f} s (forecast {document['forecast_s']:.0f} s)",
        f"  best told: {best}; worst: {worst}",
        f"  taken for another: {pairs or 'none'}",
    ]
    if plain := document.get("plain"):
        lines.append(
            f"  a step takes {plain['step_s'] * 1000:.0f} ms, one of the straightforward loop "
            f"{plain['plain_step_s'] * 1000:.0f} ms: {plain['speed_up']:.1f} times as fast"
        )
    return lines + [f"  warning: {warning}" for warning in document["warnings"]]


def _cell(dataset: dict[str, Any] | None) -> str:
    if dataset is None:
        return ""
    spread = "" if dataset["accuracy_std"] is None else f" ± {dataset['accuracy_std']:.2%}"
    text = f"{dataset['accuracy_mean']:.2%}{spread}"
    for order, mean in dataset.get("accuracy_mean_by_label_order", {}).items():
        text += f"\n{order}: {mean:.2%}"
    return text
