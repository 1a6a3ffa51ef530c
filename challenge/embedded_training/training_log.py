"""The log of a training run: a line now and then on stderr, and every such line as JSON in a file.

``log.jsonl`` is the learning curve: stage, step, seconds, and what was measured.
"""

import json
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

Clock = Callable[[], float]


class TrainingLog:
    """Tells means since the last line, at most every ``every_s`` seconds."""

    def __init__(self, path: Path, clock: Clock, every_s: float = 30.0) -> None:
        self._path, self._clock, self._every_s = path, clock, every_s
        self._begin("start", clock())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A stage with seconds and means of its own; afterwards the one around it goes on."""
        around, around_start_s = self._stage, self._start_s
        self._begin(name, self._clock())
        try:
            yield
        finally:
            self._begin(around, around_start_s)

    def _begin(self, stage: str, start_s: float) -> None:
        self._stage, self._start_s, self._last_s = stage, start_s, self._clock()
        self._seen: dict[str, list[float]] = {}
        self._count = 0

    def tell(self, step: int, steps: int, **values: float) -> bool:
        """Note the values of a step; returns whether a line was written."""
        for name, value in values.items():
            self._seen.setdefault(name, []).append(value)
        self._count += 1
        now_s = self._clock()
        if now_s - self._last_s < self._every_s and step < steps:
            return False
        means = {name: statistics.fmean(seen) for name, seen in self._seen.items()}
        speed = self._count / max(now_s - self._last_s, 1e-9)
        self._write({"step": step, "steps": steps, "steps_per_s": speed, **means})
        self._seen, self._count, self._last_s = {}, 0, now_s
        return True

    def result(self, **values: float | int) -> None:
        """Write what a stage, or a checkpoint of it, came to."""
        self._write(values)

    def _write(self, values: Mapping[str, float | int]) -> None:
        seconds = round(self._clock() - self._start_s, 1)
        rounded = {name: float(f"{value:.5g}") for name, value in values.items()}
        line = {"stage": self._stage, "seconds": seconds, **rounded}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        shown = "  ".join(f"{name} {value:g}" for name, value in rounded.items())
        sys.stderr.write(f"{self._stage} {seconds:g} s  {shown}\n")
