"""What the run tells the guard, when the guard must act, and what it reports back.

Seconds are of the run's clock, which both processes read.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from challenge.spec import DATASETS, DatasetName, DatasetSpec

HEARTBEAT_FILE = ".heartbeat"
HEARTBEAT_S = 0.5
KILL_AFTER_S = 20.0  # past the deadline and the last word from the run


@dataclass(frozen=True)
class Watch:
    """The data set that is being made.

    ``guard_at_s`` is the last moment at which a file of the complete rounds can be begun.
    ``rounds_in_file`` are the distinct images a class in the file that stands, 0 when there is
    none; ``most_ipc`` is what a file may hold.
    """

    dataset: DatasetName
    guard_at_s: float
    deadline_s: float
    rounds_in_file: int
    most_ipc: int | None = None

    @property
    def spec(self) -> DatasetSpec:
        """The data set's facts."""
        return DATASETS[self.dataset]

    def why_act(self, now_s: float, *, run_is_alive: bool) -> str | None:
        """Why the guard must pack now; None while it need not."""
        if now_s >= self.deadline_s:
            return None  # too late for any file
        if not run_is_alive:
            return "the run's process ended"
        if now_s >= self.guard_at_s:
            return "the run had not begun to pack at the last safe moment"
        return None


@dataclass(frozen=True)
class GuardReport:
    """What the guard did: the file it wrote, or ``error`` and no file."""

    dataset: DatasetName
    why: str
    rounds: int
    end_s: float
    path: str = ""
    images: int = 0
    bytes: int = 0
    sha256: str = ""
    error: str | None = None


def encode_line(watch: Watch | None) -> bytes:
    """A line for the guard; None says that the data set is finished."""
    return json.dumps(asdict(watch) if watch else None).encode() + b"\n"


def decode_line(line: bytes) -> Watch | None:
    """The opposite of ``encode_line``."""
    fields = json.loads(line)
    return Watch(**fields) if fields else None


def report_path(run_dir: Path, dataset: str) -> Path:
    """Where the guard tells what it did for a data set."""
    return run_dir / f"guard-{dataset}.json"


def read_report(run_dir: Path, dataset: DatasetName) -> GuardReport | None:
    """What the guard did for a data set; None when it never had to act."""
    path = report_path(run_dir, dataset)
    try:
        return GuardReport(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        return GuardReport(dataset, "", rounds=0, end_s=0.0, error=f"{path}: {error}")


def read_heartbeat_s(run_dir: Path) -> float:
    """The run's clock at the guard's last sign of life; 0 when there was none."""
    try:
        return float((run_dir / HEARTBEAT_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0
