"""What is to be evaluated: submission files with their labels, label order and test set.

A submission is a ``.pt`` file, a run folder, or a run folder with ``round-1`` ... ``round-N`` in
it, each a run folder: then round k trains on the set of ``round-k``, as the runner-up's script did.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from challenge.check import SubmissionReport, check_submission, load_submission
from challenge.datasets import TestSet, load_test_set
from challenge.download import download
from challenge.errors import SubmissionError, UsageError
from challenge.evaluation.confusion import label_names
from challenge.evaluation.training import TrainingSet
from challenge.records import read_label_order
from challenge.settings import EvaluateSettings, selected_specs
from challenge.spec import DATASETS, OFFICIAL_IPC, PROTOCOLS, DatasetName, DatasetSpec, LabelOrder
from challenge.submission_layout import files_by_dataset

Say = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """One set, or one a round. ``order`` is None for a bare file, of which nobody said it.

    ``subset`` holds the places of the classes in the sorted order where not all are evaluated;
    the labels of sets and test are then places in it.
    """

    submission: Path
    spec: DatasetSpec
    trains: tuple[TrainingSet, ...]
    reports: tuple[SubmissionReport, ...]
    test: TestSet
    order: LabelOrder | None
    rounds: int
    subset: tuple[int, ...] | None = None

    @property
    def title(self) -> str:
        """The file in the words of a person."""
        return f"{self.submission}, {self.spec.title}"

    @property
    def ipc(self) -> int:
        """Images of the smallest class that is trained on, in the smallest set."""
        return min(min(self._class_counts(train)) for train in self.trains)

    @property
    def most_ipc(self) -> int:
        """Images of the largest class; more than ``ipc`` with a labels file only."""
        return max(max(self._class_counts(train)) for train in self.trains)

    def _class_counts(self, train: TrainingSet) -> list[int]:
        labels = train.labels.cpu()
        counts: list[int] = torch.bincount(labels, minlength=self.spec.num_classes).tolist()
        return counts

    @property
    def images(self) -> int:
        """Images that one round trains on, in the first set."""
        return len(self.trains[0].labels)

    @property
    def class_names(self) -> list[str]:
        """A short name of the class of each label."""
        if self.subset is None:
            return label_names(self.spec, self.order_taken)
        names = label_names(self.spec, "sorted")
        return [names[place] for place in self.subset]

    def test_labels(self, order: LabelOrder) -> Int64[Tensor, " M"]:
        """The labels of the test images if the classes of the file stand in ``order``."""
        return self.test.labels_in(order) if self.subset is None else self.test.labels

    @property
    def order_taken(self) -> LabelOrder:
        """The order in which the labels are read first."""
        return self.order or "sorted"

    @property
    def refused_by_official_script(self) -> bool:
        """Whether the public official evaluate.py stops at this set."""
        return any(
            report.images != OFFICIAL_IPC * DATASETS[self.spec.name].num_classes
            or report.labels is not None
            for report in self.reports
        )


def load_entries(settings: EvaluateSettings, device: torch.device, say: Say) -> list[Entry]:
    """All submissions and test sets, checked, before the first second of training.

    Raises:
        DataError: a test set is missing or damaged.
        SubmissionError: a submission is missing or invalid.
        UsageError: ``--rounds`` is not the number of a submission's round folders.
    """
    wanted = [spec.name for spec in selected_specs(settings.dataset)]
    tests: dict[DatasetName, TestSet] = {}
    entries = []
    for submission in settings.submissions:
        for name, paths in files_by_dataset(submission).items():
            if name is not None and name not in wanted:
                continue
            entry = _load_entry(submission, paths, settings, device, tests, say)
            if entry.spec.name in wanted:
                entries.append(entry)
    if not entries:
        given = ", ".join(map(str, settings.submissions))
        raise SubmissionError(
            f"no submission of {settings.dataset} in {given}; leave --dataset away, or give another"
        )
    return entries


def _load_entry(
    submission: Path,
    paths: list[Path],
    settings: EvaluateSettings,
    device: torch.device,
    tests: dict[DatasetName, TestSet],
    say: Say,
) -> Entry:
    reports = tuple(check_submission(path) for path in paths)
    problems = [problem for report in reports for problem in report.problems]
    spec = DATASETS[reports[0].dataset] if reports[0].dataset else None
    if problems or spec is None:
        raise SubmissionError(f"cannot be evaluated: {'; '.join(problems)}")
    if spec.name not in tests:
        tests[spec.name] = _test_set(spec, settings, say)
    orders = {_label_order(path, spec, settings) for path in paths}
    if len(orders) > 1:
        raise SubmissionError(
            f"{submission}: its rounds have different label orders; evaluate each by itself"
        )
    trains = tuple(
        TrainingSet.of(load_submission(path), spec, device, report.labels)
        for path, report in zip(paths, reports, strict=True)
    )
    rounds = _rounds(submission, len(paths), settings)
    return Entry(submission, spec, trains, reports, tests[spec.name], orders.pop(), rounds)


def _test_set(spec: DatasetSpec, settings: EvaluateSettings, say: Say) -> TestSet:
    if settings.download and download(spec, settings.data):
        say(f"{spec.title} downloaded to {settings.data}")
    return load_test_set(spec, settings.data)


def _label_order(path: Path, spec: DatasetSpec, settings: EvaluateSettings) -> LabelOrder | None:
    if spec.name == "cifar100":
        return "sorted"
    return settings.label_order or read_label_order(path)


def _rounds(submission: Path, sets: int, settings: EvaluateSettings) -> int:
    if sets == 1:
        return settings.rounds or PROTOCOLS[settings.protocol].rounds
    if settings.rounds not in (None, sets):
        raise UsageError(
            f"--rounds {settings.rounds}: {submission} holds {sets} sets, one a round; "
            "leave --rounds away, or give one of the round folders"
        )
    return sets
