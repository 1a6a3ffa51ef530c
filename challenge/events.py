"""What a run tells while it works; the console and the records listen.

Every event is a frozen dataclass of plain values, so that ``dataclasses.asdict`` gives its line in
events.jsonl. Names ending in ``_s`` are seconds; ``_start_s`` and ``_end_s`` count from the start
of the run's clock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from challenge.plan import RunPlan


@dataclass(frozen=True)
class RunPlanned:
    """What will be done, said before anything is loaded.

    ``latest_end_s`` is None where loading does not count.
    """

    model: str
    datasets: tuple[str, ...]
    limit_s: float
    limit_covers: str
    clock: str
    latest_end_s: float | None
    ipc: int | str
    augment: str
    run_dir: str


@dataclass(frozen=True)
class Notice:
    """A sentence for the user: a choice that was made, or a warning."""

    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True)
class PhaseStarted:
    """A phase that a person should hear of begins: load, encode, warm_up, compile."""

    phase: str


@dataclass(frozen=True)
class TrialBatch:
    """The warm-up made a batch of ``size`` images of this data set's size."""

    dataset: str
    size: int
    seconds: float


@dataclass(frozen=True)
class TrialFile:
    """The warm-up wrote a file of noise; ``phases_s`` splits all such files so far by phase."""

    dataset: str
    images: int
    seconds: float
    phases_s: dict[str, float]


@dataclass(frozen=True)
class PlanMade:
    """What the run is expected to do, phase by phase."""

    plan: RunPlan


@dataclass(frozen=True)
class DatasetStarted:
    """The images of one data set begin; ``deadline_s`` is its last second."""

    dataset: str
    classes: int
    start_s: float
    deadline_s: float
    target_ipc: int | None


@dataclass(frozen=True)
class BatchFinished:
    """One batch is made and handed to the journal.

    ``made`` counts images of this data set so far; ``projected_ipc`` is what the file will hold if
    the run goes on as it does, or None before that can be told.
    """

    dataset: str
    size: int
    seconds: float
    rejected: int
    made: int
    ipc: int
    projected_ipc: int | None
    images_per_s: float


@dataclass(frozen=True)
class FileWritten:
    """A valid submission stands; ``final`` is False for those written on the way."""

    dataset: str
    ipc: int
    images: int
    seconds: float
    final: bool


@dataclass(frozen=True)
class DatasetFinished:
    """One data set is done; ``why`` says what ended its images."""

    dataset: str
    path: str
    ipc: int
    generated: int
    elapsed_s: float
    why: str


Event = (
    RunPlanned
    | Notice
    | PhaseStarted
    | TrialBatch
    | TrialFile
    | PlanMade
    | DatasetStarted
    | BatchFinished
    | FileWritten
    | DatasetFinished
)
Emit = Callable[[Event], None]
