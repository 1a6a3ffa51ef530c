"""The ``evaluate`` command: the challenge's score of submissions, on the real test sets.

python run_challenge.py evaluate submissions/NAME --data DIR --protocol quick
python run_challenge.py evaluate ours/cifar100.pt theirs/cifar100.pt --data DIR --plots --json
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from challenge.clock import RunClock
from challenge.console import TITLES, StepView, duration, make_table, results, write_document
from challenge.errors import OutputError, SubmissionError, UsageError
from challenge.records import (
    SCHEMA_VERSION,
    explaining_os_errors,
    require_writable,
    unused_path,
    write_json,
)
from challenge.settings import EvaluateSettings
from challenge.spec import DATASETS, PROTOCOLS

if TYPE_CHECKING:
    from challenge.evaluation.entries import Entry
    from challenge.evaluation.outcome import Outcome
    from challenge.evaluation.protocol import Progress

SHOWN_PAIRS, SHOWN_CLASSES = 5, 3


def evaluate(settings: EvaluateSettings, clock: RunClock) -> int:
    """Run the command; returns the exit code.

    Raises ``SubmissionError`` for a file that ``check`` finds invalid, ``DataError`` for a missing
    or damaged test set, ``OutputError`` for a place that cannot be written; all before anything is
    trained.
    """
    path = _result_path(settings)
    with StepView(clock) as view:
        outcomes = _evaluate_all(settings, view)
    document = _document(settings, outcomes)
    written = _write(settings, path, document, outcomes)
    if settings.json:
        write_document(document)
    else:
        _show(document, outcomes, written)
    return 0


def _result_path(settings: EvaluateSettings) -> Path | None:
    """Where the result goes; None for bare files of which nobody said where."""
    for given in (settings.out, settings.scores_txt):
        if given is not None:
            if given.exists():
                raise OutputError(f"{given} is there already; give a new file")
            with explaining_os_errors(given.parent):
                given.parent.mkdir(parents=True, exist_ok=True)
                require_writable(given.parent)
    if settings.out is not None:
        return settings.out
    folders = [path for path in settings.submissions if path.is_dir()]
    return unused_path(folders[0] / "evaluation.json") if folders else None


def _evaluate_all(settings: EvaluateSettings, view: StepView) -> "list[Outcome]":
    view.say("importing torch")
    from challenge.environment import resolve_device
    from challenge.evaluation.entries import load_entries
    from challenge.evaluation.outcome import evaluate_entry, forecasts

    protocol = PROTOCOLS[settings.protocol]
    device = resolve_device(settings.device)
    if device.type != "cpu" and settings.precision != "float32":
        raise UsageError(
            f"--precision {settings.precision} is for a CPU, and this is {device}; leave it away, "
            "or give --device cpu"
        )
    entries = load_entries(settings, device, view.say)
    if settings.scores_txt is not None and {entry.spec.name for entry in entries} != set(DATASETS):
        raise SubmissionError(
            f"--scores-txt is the mean of both sets, and {settings.submissions[0]} holds only "
            f"{entries[0].spec.title}"
        )
    if not protocol.comparable:
        view.say(f"protocol {protocol.name} is short and not comparable with published numbers")
    if settings.network != "convnet3":
        view.say(f"network {settings.network} is not the official one (convnet3)")
    expected_s = []
    for entry in entries:
        _say_what_is_known(entry, view)
        jobs = forecasts(entry, settings)
        expected_s.append(sum(job.seconds for job in jobs))
        first = jobs[0]
        view.say(
            f"takes about {duration(expected_s[-1])} ({expected_s[-1]:.0f} s): "
            f"{sum(job.groups for job in jobs)} x ({first.steps} steps of "
            f"{first.step_s * 1000:.0f} ms, and {first.test_s:.0f} s for the test)"
        )
    if len(entries) > 1:
        view.say(f"all in all about {duration(sum(expected_s))}")
    outcomes = []
    for entry, seconds in zip(entries, expected_s, strict=True):

        def tell(progress: "Progress", title: str = entry.title) -> None:
            last = progress.round_index + progress.rounds_at_once
            rounds = f"{progress.round_index + 1}" + (
                f" to {last}" if progress.rounds_at_once > 1 else ""
            )
            title = f"{title}, round {rounds} of {progress.rounds}"
            view.show(title, progress.step, progress.steps)

        outcomes.append(evaluate_entry(entry, settings, seconds, tell))
    return outcomes


def _say_what_is_known(entry: "Entry", view: StepView) -> None:
    """Data and label order, before anything starts."""
    sets = f"{len(entry.trains)} sets, one a round, of " if len(entry.trains) > 1 else ""
    view.say(
        f"{entry.title}: {sets}{entry.images:,} images, {entry.ipc} a class, tested on "
        f"{entry.test.source}"
    )
    if entry.test.note:
        view.say(entry.test.note)
    if entry.reports[0].labels is not None:
        view.say("its labels are those of the labels file beside it")
    if entry.order is None:
        view.say("its label order is not known: 'sorted' is taken, both are shown")


def _document(settings: EvaluateSettings, outcomes: "list[Outcome]") -> dict[str, Any]:
    from challenge.environment import describe_machine, resolve_device

    return {
        "schema_version": SCHEMA_VERSION,
        "protocol": settings.protocol,
        "comparable": PROTOCOLS[settings.protocol].comparable and settings.network == "convnet3",
        "network": settings.network,
        "precision": settings.precision,
        "rounds": max(outcome.entry.rounds for outcome in outcomes),
        "seed": settings.seed,
        "submissions": _by_submission(outcomes),
        "machine": describe_machine(resolve_device(settings.device)),
    }


def _by_submission(outcomes: "list[Outcome]") -> list[dict[str, Any]]:
    """One entry a submission; its score is the mean of both sets, null when one is missing."""
    submissions: dict[Path, dict[str, Any]] = {}
    for outcome in outcomes:
        datasets = submissions.setdefault(outcome.entry.submission, {})
        datasets[outcome.entry.spec.name] = outcome.document
    return [
        {"path": str(path), "score": _score(datasets), "datasets": datasets}
        for path, datasets in submissions.items()
    ]


def _score(datasets: dict[str, Any]) -> float | None:
    if set(datasets) != set(DATASETS):
        return None
    return sum(float(datasets[name]["accuracy_mean"]) for name in DATASETS) / len(DATASETS)


def _write(
    settings: EvaluateSettings,
    path: Path | None,
    document: dict[str, Any],
    outcomes: "list[Outcome]",
) -> list[Path]:
    """The files that were asked for, or that a run folder gets; returns them."""
    written = []
    place = path.parent if path is not None else Path()
    with explaining_os_errors(place):
        if path is not None:
            write_json(path, document)
            written.append(path)
        if settings.scores_txt is not None:  # in the words of the official evaluate.py
            score = document["submissions"][0]["score"]
            settings.scores_txt.write_text(f"correct: {score}", encoding="utf-8")
            written.append(settings.scores_txt)
        if settings.plots:
            written += _plot(place, outcomes)
    return written


def _plot(folder: Path, outcomes: "list[Outcome]") -> list[Path]:
    from challenge.evaluation.plots import plot_confusion, plot_curves

    written = []
    for outcome in outcomes:
        entry = outcome.entry
        title = f"{entry.title}: {outcome.document['accuracy_mean']:.2%}"
        stem = f"{entry.submission.stem}-{entry.spec.name}"
        matrix = unused_path(folder / f"{stem}-confusion.png")
        plot_confusion(outcome.confusion, title, matrix)
        curves = unused_path(folder / f"{stem}-learning-curve.png")
        plot_curves(outcome.document["losses"], title, curves)
        written += [matrix, curves]
    return written


def _show(document: dict[str, Any], outcomes: "list[Outcome]", written: list[Path]) -> None:
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
        f"{document['rounds']} rounds{comparable}"
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
