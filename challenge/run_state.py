"""What a resumed run must know beyond the journals: times, and the files that stand.

It is kept in ``state.json``, replaced and forced to disk whenever a data set begins, gets a file,
or is done. All seconds are of the run's clock.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from challenge.budget import Choice
from challenge.errors import JournalError
from challenge.records import write_json
from challenge.settings import ClockName
from challenge.spec import DATASETS, DatasetName
from challenge.submission import SubmissionFile
from challenge.watch import GuardReport, read_report

STATE_FILE = "state.json"
RESULT_TIMES = ("start_s", "end_s", "done_s", "deadline_s")


@dataclass(frozen=True)
class StandingFile:
    """A valid file under its final name: ``rounds`` distinct images a class, on disk at ``end_s``.

    ``by_guard`` says why the guard had to write it, if it did.
    """

    file: SubmissionFile
    rounds: int
    end_s: float
    by_guard: str | None = None

    @classmethod
    def of_guard(cls, report: GuardReport) -> "StandingFile | None":
        """The file that the guard tells of; None if it wrote none."""
        if report.error is not None:
            return None
        ipc = report.images // DATASETS[report.dataset].num_classes
        file = SubmissionFile(Path(report.path), report.images, ipc, report.bytes, report.sha256)
        return cls(file, report.rounds, report.end_s, by_guard=report.why)


@dataclass(frozen=True)
class DatasetResult:
    """A data set that is done: its file, what is in it and when.

    ``fault`` says what went wrong on the way although a file stands; ``images_per_s`` is of the
    last process. The file was safe on disk at ``end_s``; where a later one was tried in vain
    ``done_s`` is when that ended, and never past the deadline.
    """

    dataset: str
    file: SubmissionFile
    generated: int
    generated_per_class: int
    rejected: int
    batch_size: int
    images_per_s: float
    why_stopped: str
    fault: str | None
    choices: tuple[Choice, ...]
    start_s: float
    end_s: float
    done_s: float
    deadline_s: float
    framing: str = "whole"  # preset by which the pictures were framed
    colour: Mapping[str, Any] | None = None  # how the colours of the file were changed

    @property
    def late_s(self) -> float:
        """Seconds past the deadline at which the file was safe on disk; 0 when it was in time."""
        return max(0.0, self.end_s - self.deadline_s)


@dataclass(frozen=True)
class DatasetState:
    """One data set: when its time began, what stands, and its result once it is done."""

    start_s: float
    standing: StandingFile | None = None
    result: DatasetResult | None = None
    phases_s: Mapping[str, float] = field(default_factory=dict)

    def later(self, seconds: float) -> "DatasetState":
        """The same, with all its times moved."""
        standing, result = self.standing, self.result
        if standing:
            standing = replace(standing, end_s=standing.end_s + seconds)
        if result:
            times = {name: getattr(result, name) + seconds for name in RESULT_TIMES}
            result = replace(result, **times)
        return DatasetState(self.start_s + seconds, standing, result, self.phases_s)


class RunState:
    """The state of one run, on disk after each change.

    ``spent_s`` is what earlier processes of the run have spent, ``generation_start_s`` where the
    clock of ``--clock generation`` starts, ``prompts_per_class`` the size of the prompt pools that
    was fixed for the run. A disk that refuses does not end the run: ``failure``
    says why.
    """

    def __init__(self, run_dir: Path, spent_s: float = 0.0) -> None:
        self.spent_s = spent_s
        self.generation_start_s: float | None = None
        self.prompts_per_class: int | None = None
        self.datasets: dict[str, DatasetState] = {}
        self.failure: str | None = None
        self._path = run_dir / STATE_FILE

    @classmethod
    def load(cls, run_dir: Path, spent_s: float) -> "RunState":
        """The state that an earlier process left; ``JournalError`` when it is damaged."""
        state = cls(run_dir, spent_s)
        try:
            document = json.loads(state._path.read_text(encoding="utf-8"))
            state.generation_start_s = document["generation_start_s"]
            state.prompts_per_class = document["prompts_per_class"]
            state.datasets = {
                name: _with_guards_file(run_dir, name, _dataset_state(entry))
                for name, entry in document["datasets"].items()
            }
        except FileNotFoundError:
            pass  # it ended before the first image
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise JournalError(
                f"{state._path}: cannot be read ({error}); put it right, or start a new run"
            ) from error
        return state

    def began(self, now_s: float, clock: ClockName) -> None:
        """Loading and warm-up are over.

        What a resumed process needed for them does not count with ``--clock generation``: there
        all times move by it.
        """
        if self.generation_start_s is None:
            self.generation_start_s = now_s
        else:
            pause_s = now_s - self.spent_s
            self.generation_start_s += pause_s
            if clock == "generation":
                self.datasets = {
                    name: entry.later(pause_s) for name, entry in self.datasets.items()
                }
        self._save()

    def dataset_began(self, dataset: str, start_s: float) -> None:
        """The time of a data set began."""
        known = self.datasets.get(dataset)
        self.datasets[dataset] = DatasetState(start_s, known.standing if known else None)
        self._save()

    def file_stands(self, dataset: str, standing: StandingFile) -> None:
        """A file is safe on disk."""
        self.datasets[dataset] = replace(self.datasets[dataset], standing=standing)
        self._save()

    def dataset_done(self, result: DatasetResult, phases_s: Mapping[str, float]) -> None:
        """A data set ended as it should, so a resumed run leaves it alone."""
        entry = self.datasets[result.dataset]
        self.datasets[result.dataset] = replace(entry, result=result, phases_s=phases_s)
        self._save()

    def _save(self) -> None:
        document = {
            "generation_start_s": self.generation_start_s,
            "prompts_per_class": self.prompts_per_class,
            "datasets": {name: asdict(entry) for name, entry in self.datasets.items()},
        }
        try:
            write_json(self._path, document, durable=True)
        except OSError as error:
            self.failure = f"{self._path}: not written ({error.strerror}); a resume may lose a file"


def _dataset_state(entry: dict[str, Any]) -> DatasetState:
    standing, result = entry.pop("standing"), entry.pop("result")
    if standing is not None:
        standing = StandingFile(**standing | {"file": _submission_file(standing)})
    if result is not None:
        choices = tuple(Choice(**choice) for choice in result["choices"])
        result = DatasetResult(**result | {"file": _submission_file(result), "choices": choices})
    return DatasetState(standing=standing, result=result, **entry)


def _with_guards_file(run_dir: Path, name: DatasetName, entry: DatasetState) -> DatasetState:
    """The state with the file that the guard wrote after the run's last word, if it did."""
    report = read_report(run_dir, name)
    file = StandingFile.of_guard(report) if report else None
    return replace(entry, standing=later_file(entry.standing, file))


def later_file(first: StandingFile | None, second: StandingFile | None) -> StandingFile | None:
    """The one that stands, of two files that were put under the same name."""
    files = [file for file in (first, second) if file is not None]
    return max(files, key=lambda file: file.end_s, default=None)


def _submission_file(owner: Mapping[str, Any]) -> SubmissionFile:
    fields = owner["file"]
    return SubmissionFile(**fields | {"path": Path(fields["path"])})
