"""The ``evaluate`` command: the challenge's score of submissions, on the real test sets.

python run_challenge.py evaluate submissions/NAME --data DIR --protocol quick
python run_challenge.py evaluate ours/cifar100.pt theirs/cifar100.pt --data DIR --plots --json
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from challenge.clock import RunClock
from challenge.commands.evaluate_screen import show_result
from challenge.console import StepView, duration, write_document
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
    import torch

    from challenge.evaluation.entries import Entry
    from challenge.evaluation.outcome import Outcome
    from challenge.evaluation.protocol import Progress, Tell


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
        show_result(document, outcomes, written)
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
    from challenge.evaluation.entries import load_entries
    from challenge.evaluation.outcome import evaluate_entry
    from challenge.evaluation.subset import with_subset

    entries = load_entries(settings, _device(settings), view.say)
    if settings.subset_classes is not None:
        entries = [with_subset(entry, settings.subset_classes) for entry in entries]
        view.say(f"{settings.subset_classes} classes only: not comparable with published numbers")
    if settings.scores_txt is not None and {entry.spec.name for entry in entries} != set(DATASETS):
        raise SubmissionError(
            f"--scores-txt is the mean of both sets, and {settings.submissions[0]} holds only "
            f"{entries[0].spec.title}"
        )
    protocol = PROTOCOLS[settings.protocol]
    if not protocol.comparable:
        view.say(f"protocol {protocol.name} is short and not comparable with published numbers")
    if settings.network != "convnet3":
        view.say(f"network {settings.network} is not the official one (convnet3)")
    expected_s = [_say_what_comes(entry, settings, view) for entry in entries]
    if len(entries) > 1:
        view.say(f"all in all about {duration(sum(expected_s))}")
    return [
        evaluate_entry(entry, settings, seconds, _teller(entry, view))
        for entry, seconds in zip(entries, expected_s, strict=True)
    ]


def _device(settings: EvaluateSettings) -> "torch.device":
    """The device; a setting that it would not use is a ``UsageError``."""
    from challenge.environment import resolve_device

    device = resolve_device(settings.device)
    if device.type != "cpu" and settings.precision != "float32":
        raise UsageError(
            f"--precision {settings.precision} is for a CPU, and this is {device}; leave it away, "
            "or give --device cpu"
        )
    if device.type == "cpu" and settings.compile:
        raise UsageError("--compile is for a GPU, and this is a CPU; leave it away")
    return device


def _teller(entry: "Entry", view: StepView) -> "Tell":
    """Shows the progress of one entry."""

    def tell(progress: "Progress") -> None:
        first, last = progress.round_index + 1, progress.round_index + progress.rounds_at_once
        rounds = f"round {first}" if first == last else f"rounds {first} to {last}"
        title = f"{entry.title}, {rounds} of {progress.rounds}"
        view.show(title, progress.step, progress.steps)

    return tell


def _say_what_comes(entry: "Entry", settings: EvaluateSettings, view: StepView) -> float:
    """Data, label order and a forecast, before anything starts; returns the seconds forecast."""
    from challenge.evaluation.outcome import forecasts

    _say_what_is_known(entry, view)
    jobs = forecasts(entry, settings)
    first, seconds = jobs[0], sum(job.seconds for job in jobs)
    view.say(
        f"takes about {duration(seconds)} ({seconds:.0f} s): {sum(job.groups for job in jobs)} x "
        f"({first.steps} steps of {first.step_s * 1000:.0f} ms, and {first.test_s:.0f} s for the "
        "test)"
    )
    return seconds


def _say_what_is_known(entry: "Entry", view: StepView) -> None:
    """Data and label order."""
    sets = f"{len(entry.trains)} sets, one a round, of " if len(entry.trains) > 1 else ""
    a_class = str(entry.ipc) if entry.most_ipc == entry.ipc else f"{entry.ipc} to {entry.most_ipc}"
    view.say(
        f"{entry.title}: {sets}{entry.images:,} images, {a_class} a class, tested on "
        f"{entry.test.source}"
    )
    for report in entry.reports:
        for warning in report.warnings:
            view.say(f"warning: {warning}")
    if entry.test.note:
        view.say(entry.test.note)
    if entry.reports[0].labels is not None:
        view.say("its labels are those of the labels file beside it")
    if entry.order is None:
        view.say("its label order is not known: 'sorted' is taken, both are shown")


def _document(settings: EvaluateSettings, outcomes: "list[Outcome]") -> dict[str, Any]:
    from challenge.environment import describe_machine

    return {
        "schema_version": SCHEMA_VERSION,
        "protocol": settings.protocol,
        "comparable": _is_comparable(settings),
        "network": settings.network,
        "subset_classes": settings.subset_classes,
        "precision": settings.precision,
        "compile": settings.compile,
        "rounds": max(outcome.entry.rounds for outcome in outcomes),
        "seed": settings.seed,
        "submissions": _by_submission(outcomes),
        "machine": describe_machine(_device(settings)),
    }


def _is_comparable(settings: EvaluateSettings) -> bool:
    """Whether the numbers may stand beside published ones."""
    all_of_it = settings.network == "convnet3" and settings.subset_classes is None
    return PROTOCOLS[settings.protocol].comparable and all_of_it


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
        stem = "-".join(dict.fromkeys([entry.submission.stem, entry.spec.name]))
        matrix = unused_path(folder / f"{stem}-confusion.png")
        plot_confusion(outcome.confusion, title, matrix)
        curves = unused_path(folder / f"{stem}-learning-curve.png")
        plot_curves(outcome.document["losses"], title, curves)
        written += [matrix, curves]
    return written
