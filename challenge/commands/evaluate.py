"""The ``evaluate`` command: the challenge's score of submissions, on the real test sets.

python run_challenge.py evaluate submissions/NAME --data DIR --protocol quick
python run_challenge.py evaluate ours/cifar100.pt theirs/cifar100.pt --data DIR --json
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from challenge.clock import RunClock
from challenge.commands.check import submission_files
from challenge.console import TITLES, StepView, duration, make_table, results, write_document
from challenge.errors import SubmissionError
from challenge.records import SCHEMA_VERSION, read_label_order
from challenge.settings import EvaluateSettings
from challenge.spec import DATASETS, PROTOCOLS, DatasetName, DatasetSpec, LabelOrder

if TYPE_CHECKING:
    from challenge.datasets import TestSet
    from challenge.evaluation.protocol import Forecast, Progress, TrainingSet

ORDERS: tuple[LabelOrder, ...] = ("sorted", "wnids-txt")


@dataclass(frozen=True)
class Entry:
    """One file to evaluate. ``order`` is None for a bare file, of which nobody said it."""

    submission: Path
    spec: DatasetSpec
    train: "TrainingSet"
    test: "TestSet"
    order: LabelOrder | None
    ipc: int

    @property
    def title(self) -> str:
        """The file in the words of a person."""
        return f"{self.submission}, {self.spec.title}"


def evaluate(settings: EvaluateSettings, clock: RunClock) -> int:
    """Run the command; returns the exit code.

    Raises ``SubmissionError`` for a file that ``check`` finds invalid, ``DataError`` for a missing
    or damaged test set; both before anything is trained.
    """
    protocol = PROTOCOLS[settings.protocol]
    rounds = settings.rounds or protocol.rounds
    with StepView(clock) as view:
        entries = _load(settings)
        _say_what_is_known(entries, settings, rounds, view)
        evaluated = [(entry, _evaluate(entry, settings, rounds, view)) for entry in entries]
    document = {
        "schema_version": SCHEMA_VERSION,
        "protocol": settings.protocol,
        "comparable": protocol.comparable,
        "rounds": rounds,
        "seed": settings.seed,
        "submissions": _by_submission(evaluated),
    }
    if settings.json:
        write_document(document)
    else:
        _show(document)
    return 0


def _load(settings: EvaluateSettings) -> list[Entry]:
    """All submissions and test sets, checked, before the first second of training."""
    import torch

    from challenge.check import check_submission
    from challenge.datasets import load_test_set
    from challenge.environment import resolve_device
    from challenge.evaluation.protocol import TrainingSet

    device = resolve_device(settings.device)
    wanted = DATASETS if settings.dataset == "all" else {settings.dataset}
    tests: dict[DatasetName, TestSet] = {}
    entries = []
    for submission in settings.submissions:
        for path in submission_files(submission):
            report = check_submission(path)
            if report.problems or report.dataset is None:
                raise SubmissionError(f"cannot be evaluated: {'; '.join(report.problems)}")
            if report.dataset not in wanted:
                continue
            spec = DATASETS[report.dataset]
            if spec.name not in tests:
                tests[spec.name] = load_test_set(spec, settings.data)
            images = torch.load(path, weights_only=True, map_location="cpu").detach()
            train = TrainingSet.of(images, spec, device)
            order = "sorted" if spec.name == "cifar100" else _label_order(path, settings)
            entries.append(Entry(submission, spec, train, tests[spec.name], order, report.ipc))
    if not entries:
        raise SubmissionError(f"no submission for {settings.dataset} among what was given")
    return entries


def _label_order(path: Path, settings: EvaluateSettings) -> LabelOrder | None:
    return settings.label_order or read_label_order(path)


def _say_what_is_known(
    entries: list[Entry], settings: EvaluateSettings, rounds: int, view: StepView
) -> None:
    """Data, label order and a forecast of the time, before anything starts."""
    from challenge.evaluation.protocol import forecast

    protocol = PROTOCOLS[settings.protocol]
    if not protocol.comparable:
        view.say(f"protocol {protocol.name} is short and not comparable with published numbers")
    total_s = 0.0
    for entry in entries:
        view.say(f"{entry.title}: {entry.ipc} images a class, tested on {entry.test.source}")
        if entry.order is None:
            view.say("its label order is not known: 'sorted' is taken, both are shown")
        expected: Forecast = forecast(entry.train, entry.test.images, entry.spec, protocol, rounds)
        total_s += expected.seconds
        view.say(
            f"takes about {duration(expected.seconds)}: {rounds} x ({expected.steps} steps of "
            f"{expected.step_s * 1000:.0f} ms, and {expected.test_s:.0f} s for the test)"
        )
    if len(entries) > 1:
        view.say(f"all in all about {duration(total_s)}")


def _evaluate(
    entry: Entry, settings: EvaluateSettings, rounds: int, view: StepView
) -> dict[str, Any]:
    """Train and test one file; accuracies are fractions."""
    from challenge.evaluation.protocol import accuracies, evaluate_set, mean_and_std

    def tell(progress: "Progress") -> None:
        title = f"{entry.title}, round {progress.round_index + 1} of {progress.rounds}"
        view.show(title, progress.step, progress.steps)

    result = evaluate_set(
        entry.train,
        entry.test.images,
        entry.spec,
        PROTOCOLS[settings.protocol],
        rounds=rounds,
        seed=settings.seed,
        tell=tell,
    )
    order = entry.order or "sorted"
    found = accuracies(result.predictions, entry.test.labels_in(order))
    mean, std = mean_and_std(found)
    document: dict[str, Any] = {
        "accuracy_mean": mean,
        "accuracy_std": std,
        "accuracies": found,
        "seconds": result.seconds,
        "ipc": entry.ipc,
        "label_order": order,
        "data": str(entry.test.source),
    }
    if entry.order is None:
        by_order = {
            order: mean_and_std(accuracies(result.predictions, entry.test.labels_in(order)))[0]
            for order in ORDERS
        }
        document["accuracy_mean_by_label_order"] = by_order
    return document


def _by_submission(evaluated: list[tuple[Entry, dict[str, Any]]]) -> list[dict[str, Any]]:
    """One entry a submission; its score is the mean of both sets, null when one is missing."""
    submissions: dict[Path, dict[str, Any]] = {}
    for entry, document in evaluated:
        submissions.setdefault(entry.submission, {})[entry.spec.name] = document
    return [
        {"path": str(path), "score": _score(datasets), "datasets": datasets}
        for path, datasets in submissions.items()
    ]


def _score(datasets: dict[str, Any]) -> float | None:
    if set(datasets) != set(DATASETS):
        return None
    return sum(float(datasets[name]["accuracy_mean"]) for name in DATASETS) / len(DATASETS)


def _show(document: dict[str, Any]) -> None:
    """A table of all submissions side by side."""
    rows = [
        (
            submission["path"],
            *(_cell(submission["datasets"].get(name)) for name in DATASETS),
            "" if submission["score"] is None else f"{submission['score']:.2%}",
        )
        for submission in document["submissions"]
    ]
    headings = ("accuracy on the real test set", *(TITLES[name] for name in DATASETS), "score")
    results().print(make_table(headings, rows))
    comparable = "" if document["comparable"] else "; not comparable with published numbers"
    results().print(f"protocol {document['protocol']}, {document['rounds']} rounds{comparable}")


def _cell(dataset: dict[str, Any] | None) -> str:
    if dataset is None:
        return ""
    spread = "" if dataset["accuracy_std"] is None else f" ± {dataset['accuracy_std']:.2%}"
    text = f"{dataset['accuracy_mean']:.2%}{spread}"
    for order, mean in dataset.get("accuracy_mean_by_label_order", {}).items():
        text += f"\n{order}: {mean:.2%}"
    return text
