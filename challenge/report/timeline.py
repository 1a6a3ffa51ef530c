"""Where the seconds went: a lane for what comes before the images, and one for each data set.

Everything is placed in per cent of the time shown, so that the page can draw it as plain boxes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from challenge.report.run_folder import Document, RunFolder
from challenge.spec import DATASETS, DatasetName

PHASE_TITLES = {
    "start_up": "start",
    "import": "imports",
    "load": "load",
    "encode": "prompts",
    "warm_up": "warm-up",
    "generate": "images",
    "write": "write",
    "augment": "augment",
    "fsync": "to disk",
}
POINTS = 80  # of a curve


@dataclass(frozen=True)
class Bar:
    """A stretch of time in a lane; ``kind`` picks its colour."""

    title: str
    kind: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Lane:
    """Bars of what was done, and below them of what was planned; the limit as a mark."""

    title: str
    bars: list[Bar]
    planned: list[Bar]
    deadline_s: float | None = None


@dataclass(frozen=True)
class Timeline:
    """The lanes, over ``end_s`` seconds, with ``ticks`` for the ruler."""

    lanes: list[Lane]
    end_s: float
    ticks: list[float]

    def share(self, seconds: float) -> str:
        """A place or a length in per cent of the width."""
        return f"{100 * min(max(seconds, 0.0), self.end_s) / self.end_s:.3f}%"


def timeline(run: RunFolder) -> Timeline | None:
    """None where nothing is known of any second."""
    lanes = [lane for lane in (_before(run), *(_lane(run, name) for name in DATASETS)) if lane]
    ends = [bar.end_s for lane in lanes for bar in (*lane.bars, *lane.planned)]
    ends += [lane.deadline_s for lane in lanes if lane.deadline_s is not None]
    if not ends:
        return None
    end_s = max(ends)
    return Timeline(lanes, end_s, list(_ticks(end_s)))


def speed_curve(run: RunFolder, dataset: DatasetName) -> list[tuple[float, float]]:
    """Seconds and images a second, over equal parts of the time in which images were made."""
    batches = run.of("BatchFinished", dataset)
    started = run.of("DatasetStarted", dataset)
    if not batches or not started:
        return []
    start_s, end_s = float(started[-1]["start_s"]), float(batches[-1]["t_s"])
    start_s = max(start_s, float(batches[0]["t_s"]) - float(batches[0]["seconds"]))
    width_s = (end_s - start_s) / min(POINTS, len(batches))
    if width_s <= 0:
        return []
    made = [0.0] * min(POINTS, len(batches))
    for batch in batches:
        place = min(len(made) - 1, int((float(batch["t_s"]) - start_s) / width_s))
        made[max(0, place)] += batch["size"] - batch.get("rejected", 0)
    return [(start_s + (place + 0.5) * width_s, n / width_s) for place, n in enumerate(made)]


def memory_curve(run: RunFolder, key: str = "memory_gib") -> list[tuple[float, float]]:
    """Seconds and GiB in use, a few hundred points at most."""
    known = [(float(each["t_s"]), float(each[key])) for each in run.events if key in each]
    return known[:: max(1, len(known) // (4 * POINTS))]


def _before(run: RunFolder) -> Lane | None:
    """Start, imports and the phases that all data sets share."""
    spent: Document = run.record.get("phases_s", {})
    bars, now_s = [], 0.0
    for phase, title in PHASE_TITLES.items():
        if seconds := spent.get(phase, 0.0):
            bars.append(Bar(title, phase, now_s, now_s + seconds))
            now_s += seconds
    if not bars:
        return None
    planned, now_s = [], 0.0
    for phase, seconds in (run.record.get("plan") or {}).get("shared_s", {}).items():
        planned.append(Bar(PHASE_TITLES.get(phase, phase), phase, now_s, now_s + seconds))
        now_s += seconds
    return Lane("before the images", bars, planned)


def _lane(run: RunFolder, dataset: DatasetName) -> Lane | None:
    """One data set: its images, the files on the way, the last file; the plan below."""
    started, finished = run.of("DatasetStarted", dataset), run.of("DatasetFinished", dataset)
    if not started:
        return None
    start_s, deadline_s = float(started[0]["start_s"]), float(started[-1]["deadline_s"])
    # a data set's time begins with the run's start; its images begin when they were begun
    images_start_s = float(started[0]["t_s"])
    files = [
        Bar("file", "file" if each.get("final") else "early-file",
            float(each["t_s"]) - float(each["seconds"]), float(each["t_s"]))
        for each in run.of("FileWritten", dataset)
    ]  # fmt: skip
    batches = run.of("BatchFinished", dataset)
    bars = []
    if batches:
        bars.append(Bar("images", "generate", images_start_s, float(batches[-1]["t_s"])))
    if finished and files:
        end_s = start_s + float(finished[-1]["elapsed_s"])
        files[-1] = Bar("last file", "file", files[-1].start_s, max(end_s, files[-1].start_s))
    planned, now_s = [], images_start_s
    for phase, seconds in _planned(run, dataset).items():
        planned.append(Bar(PHASE_TITLES.get(phase, phase), phase, now_s, now_s + seconds))
        now_s += seconds
    return Lane(DATASETS[dataset].title, bars + files, planned, deadline_s)


def _planned(run: RunFolder, dataset: DatasetName) -> dict[str, Any]:
    plans = (run.record.get("plan") or {}).get("datasets", ())
    return next((dict(each["phases_s"]) for each in plans if each["dataset"] == dataset), {})


def _ticks(end_s: float) -> Iterator[float]:
    """Four to ten round numbers from 0 on."""
    steps = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
    step = next((each for each in steps if each * 10 >= end_s), 86400)
    tick = 0.0
    while tick <= end_s:
        yield tick
        tick += step
