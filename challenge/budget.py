"""Time: where the seconds go, how many are left, and what the next step may cost at worst.

Costs are told, never measured here: the runner measures on the one clock it was handed and reports.
An estimate is pessimistic where a mistake would make the submission late, and learns from every
report.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, inf

from challenge.settings import LimitCovers

Clock = Callable[[], float]
"""Seconds since the start of the process (or of the test)."""


class PhaseTimer:
    """Gives every second to exactly one named phase, so that the phases sum to the total.

    ``phase(name)`` may be nested: the inner phase takes its seconds from the outer one.
    ``scope(owner)`` keeps apart what is spent on one data set from what all share.
    """

    def __init__(self, clock: Clock, first_phase: str, start_s: float = 0.0) -> None:
        self._clock = clock
        self._scope = ""
        self._current = ("", first_phase)
        self._since_s = start_s
        self._seconds: dict[tuple[str, str], float] = defaultdict(float)

    def now_s(self) -> float:
        """The time on the timer's clock."""
        return self._clock()

    @contextmanager
    def scope(self, owner: str) -> Iterator[None]:
        """Phases begun inside belong to ``owner``."""
        outer, self._scope = self._scope, owner
        try:
            yield
        finally:
            self._scope = outer

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside as ``name``."""
        previous = self._current
        self._switch((self._scope, name))
        try:
            yield
        finally:
            self._switch(previous)

    def begin(self, name: str) -> None:
        """Count from here on as ``name``, until another phase begins."""
        self._switch((self._scope, name))

    def add(self, owner: str, name: str, seconds: float) -> None:
        """Count ``seconds`` that this timer did not see, such as those of an earlier process."""
        self._seconds[owner, name] += seconds

    def totals_s(self, owner: str = "") -> dict[str, float]:
        """Seconds of each phase up to now: of ``owner``, or of what all share."""
        self._switch(self._current)
        return {name: seconds for (scope, name), seconds in self._seconds.items() if scope == owner}

    def _switch(self, phase: tuple[str, str]) -> None:
        now_s = self._clock()
        self._seconds[self._current] += now_s - self._since_s
        self._current, self._since_s = phase, now_s


@dataclass(frozen=True)
class Deadline:
    """When a data set's time began and when it ends, in seconds of the run's clock."""

    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long it is from start to end."""
        return self.end_s - self.start_s

    @classmethod
    def share(
        cls,
        *,
        start_s: float,
        run_start_s: float,
        limit_s: float,
        covers: LimitCovers,
        sets_left: int,
    ) -> "Deadline":
        """The time of the next data set, which starts at ``start_s``.

        ``each``: the whole limit; the first set's start is the run's, a later one's the moment its
        forerunner was finished. ``all``: an equal share of what is left of the one limit.
        """
        if covers == "each":
            return cls(start_s, start_s + limit_s)
        left_s = run_start_s + limit_s - start_s
        return cls(start_s, start_s + left_s / sets_left)


class BatchCost:
    """Seconds of a batch, by its size.

    The pessimistic cost of a size is the 90 % quantile of its last 64 batches, times ``margin``.
    One stall is so forgotten after ten batches. The first batch of a size may hold one-off costs;
    once four others are known it does not count. A size that was never run lies on the line between
    its neighbours; below the smallest it costs as much as that, above the largest as much per
    image.
    """

    margin = 1.1

    def __init__(self) -> None:
        self._first_s: dict[int, float] = {}
        self._seconds: dict[int, deque[float]] = {}

    def observe(self, size: int, seconds: float) -> None:
        """One batch of ``size`` images took so long."""
        if size in self._first_s:
            self._seconds[size].append(seconds)
        else:
            self._first_s[size], self._seconds[size] = seconds, deque(maxlen=64)

    def fastest_s_per_image(self) -> float:
        """The best rate seen so far; ``ValueError`` before the first batch."""
        return min(min(self._known(size)) / size for size in self._first_s)

    def pessimistic_s(self, size: int) -> float:
        """What a batch of ``size`` images may take; ``ValueError`` before the first batch."""
        if not self._first_s:
            raise ValueError("no batch was observed yet")
        below = max((known for known in self._first_s if known <= size), default=None)
        above = min((known for known in self._first_s if known >= size), default=None)
        if above is None:
            assert below is not None  # a size is known
            return self.margin * self._upper_s(below) * size / below
        above_s = self._upper_s(above)
        if below is None or below == above:
            return self.margin * above_s
        below_s = self._upper_s(below)
        on_the_line = below_s + (above_s - below_s) * (size - below) / (above - below)
        return self.margin * max(on_the_line, below_s)

    def _upper_s(self, size: int) -> float:
        return upper_quantile(self._known(size), 0.9)

    def _known(self, size: int) -> list[float]:
        later = list(self._seconds[size])
        return later if len(later) >= 4 else [self._first_s[size], *later]


class PackCost:
    """Seconds from the last image to a file that is safe on disk, by its number of images.

    A straight line through the largest file so far, since small files tell little of large ones;
    its fixed part is the quickest file's time. Never less than any file took. ``margin`` covers a
    machine that got slower, ``floor_s`` a stalled fsync.
    """

    margin = 1.5
    floor_s = 0.75

    def __init__(self) -> None:
        self._largest = 0  # images
        self._largest_s: list[float] = []  # what files of that size took
        self._quickest_s, self._slowest_s = inf, 0.0

    def observe(self, images: int, seconds: float) -> None:
        """A file of so many images took so long."""
        if images > self._largest:
            self._largest, self._largest_s = images, []
        if images == self._largest:
            self._largest_s.append(seconds)
        self._quickest_s = min(self._quickest_s, seconds)
        self._slowest_s = max(self._slowest_s, seconds)

    def expected_s(self, images: int) -> float:
        """What a file of ``images`` will take; ``ValueError`` before the first was observed."""
        if not self._largest_s:
            raise ValueError("no file was observed yet")
        its_seconds = sum(self._largest_s) / len(self._largest_s)
        growth_s = (its_seconds - self._quickest_s) * images / self._largest
        return max(self._quickest_s + growth_s, self._slowest_s)

    def pessimistic_s(self, images: int, caution: float = 1.0) -> float:
        """What must be kept in reserve for a file of ``images``.

        With less ``caution`` than 1 that much of what is kept beyond the expected time.
        """
        expected_s = self.expected_s(images)
        return expected_s + caution * (self.floor_s + (self.margin - 1) * expected_s)


@dataclass(frozen=True)
class Choice:
    """Something that costs time first and makes the rest of a data set faster, taken or not.

    What was never measured is None, and does not pay. ``decided`` is given where something else
    than that settled it, which ``because`` tells.
    """

    what: str
    speed_up: float | None
    cost_s: float | None
    left_s: float
    because: str = ""
    decided: bool | None = None

    @property
    def pays(self) -> bool:
        """Whether more is won in the time left than is spent: left x (1 - 1 / speed-up) > cost."""
        return self.cost_s is not None and self.most_s > self.cost_s

    @property
    def most_s(self) -> float:
        """What it may cost at most, to pay."""
        return 0.0 if self.speed_up is None else self.left_s * (1 - 1 / self.speed_up)

    @property
    def taken(self) -> bool:
        """What became of it."""
        return self.pays if self.decided is None else self.decided


def upper_quantile(values: Sequence[float] | deque[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(ceil(share * len(ordered)), 1) - 1]
