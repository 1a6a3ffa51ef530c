"""Simulates ten-minute runs of the real scheduler on a fake clock, with stalls of model and disk.

    python tests/simulate_runs.py --runs 10000

Prints how many runs had no file in time, how many handed in an older file than they could have had,
and how much time was left over: with the guard, with the alarm alone, and with neither. The same
runs are simulated in each row. What is drawn is said in ``Weather``.
"""

import argparse
import random
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from challenge.batch_sizer import LONGEST_BATCH_SHARE, BatchSizer
from challenge.budget import BatchCost, Deadline, PackCost
from challenge.errors import BudgetError
from challenge.file_keeper import SAFE_SHARE
from challenge.packing import RENAME_S, TELLING_SHARE
from challenge.rounds import BalancedRounds, ImageRequest
from challenge.scheduler import Costs, Scheduler

LIMIT_S, CLASSES = 600.0, 100
ROWS = {"guard and alarm": (True, True), "alarm only": (False, True), "neither": (False, False)}


class CountedRounds(BalancedRounds):
    """Balanced rounds without seeds and rejections, since a simulation makes millions of them."""

    def take(self, size: int) -> list[ImageRequest]:
        """Stand-ins: only their number counts."""
        return [NOTHING] * size

    def count(self, images: int) -> None:
        """So many images are made in all."""
        rounds, rest = divmod(images, self._num_classes)
        self.counts = [rounds + 1] * rest + [rounds] * (self._num_classes - rest)

    def accept(self, requests: object) -> None:
        """Counted by ``count``."""


NOTHING = ImageRequest(0, 0, 0, 0)


@dataclass(frozen=True)
class Weather:
    """What a run may meet; drawn anew for each run from its seed.

    A batch takes its median times a log-normal factor of 5 %; one in fifty takes 1.5 to 3 times as
    long, one in 500 takes 5 to 20 times, and one in 4000 hangs for 1 to 20 minutes; half of the
    hangs cannot be interrupted. A file takes a log-normal factor of 15 %; while one in fifty is
    written the disk becomes 2 to 6 times as slow, and one in 200 waits 1 to 10 s at some moment.
    """

    image_s: float
    pack_image_s: float

    @classmethod
    def draw(cls, rng: random.Random) -> "Weather":
        """5 to 80 images/s; 4,000 to 40,000 images/s to pack."""
        return cls(1 / (5 * 16 ** rng.random()), 1 / (4000 * 10 ** rng.random()))

    def batch_s(self, size: int, rng: random.Random) -> tuple[float, bool]:
        """Seconds of a batch, and whether an alarm can end it."""
        seconds = (0.02 + size * self.image_s) * rng.lognormvariate(0, 0.05)
        luck = rng.random()
        if luck < 1 / 4000:
            return seconds + rng.uniform(60, 1200), rng.random() < 0.5
        if luck < 1 / 500:
            return seconds * rng.uniform(5, 20), True
        return seconds * (rng.uniform(1.5, 3) if luck < 1 / 50 else 1), True

    def pack_s(self, images: int, rng: random.Random) -> list[float]:
        """Seconds of each tenth of a file."""
        seconds = (0.05 + images * self.pack_image_s) * rng.lognormvariate(0, 0.15)
        tenths = [seconds / 10] * 10
        luck = rng.random()
        if luck < 1 / 50:
            slow_from, factor = rng.randrange(10), rng.uniform(2, 6)
            tenths = [t * (factor if i >= slow_from else 1) for i, t in enumerate(tenths)]
        elif luck < 1 / 50 + 1 / 200:
            tenths[rng.randrange(10)] += rng.uniform(1, 10)
        return tenths


class SimulatedRun:
    """One run: the calls of ``DatasetRun`` in their order, with seconds drawn instead of spent."""

    def __init__(
        self,
        seed: int,
        *,
        guard: bool,
        alarm: bool,
        limit_s: float = LIMIT_S,
        classes: int = CLASSES,
        weather: "Weather | None" = None,
    ) -> None:
        self._rng, self._guard, self._alarm = random.Random(seed), guard, alarm
        self.limit_s, self.classes = limit_s, classes
        self._weather = weather or Weather.draw(self._rng)
        self._rounds = CountedRounds("cifar100", classes, 0)
        costs = Costs(BatchCost(), PackCost(), BatchSizer(None, LONGEST_BATCH_SHARE * limit_s))
        costs.batch.observe(1, self._weather.image_s + 0.02)
        for images in (classes, 10 * classes):
            costs.pack.observe(images, sum(self._weather.pack_s(images, self._rng)))
        self._scheduler = Scheduler(
            self._rounds, costs, Deadline(0.0, limit_s), target_ipc=None, augment="none"
        )
        self.now_s = self._rng.uniform(0.01, 0.07) * limit_s  # start-up and loading
        self.end_s = 0.0  # of the file that stands
        self.images_in_file = 0

    @property
    def generated(self) -> int:
        """Images made, in the file or not."""
        return self._scheduler.generated

    def run(self) -> "SimulatedRun":
        """From the first batch to the file that is handed in."""
        try:
            in_order = self._generate() and self._write_last_file()
            while in_order and self._scheduler.may_go_on(self.now_s):
                in_order = self._generate() and self._write_last_file()
        except BudgetError:
            pass  # not one image of each class fits
        return self

    def _generate(self) -> bool:
        while batch := self._scheduler.next_batch(self.now_s):
            seconds, can_end = self._weather.batch_s(len(batch), self._rng)
            near_the_end = self.now_s + seconds > 0.8 * self.limit_s
            if near_the_end and self._is_cut_short(self.now_s + seconds, can_end=can_end):
                return False
            if seconds > 20 and self._alarm and can_end:
                patience_s = self._scheduler.patience_s(len(batch), self.now_s)
                if seconds > patience_s:
                    self.now_s += patience_s
                    continue  # it is asked for anew
            self.now_s += seconds
            self._rounds.count(self._scheduler.generated + len(batch))
            self._scheduler.finished(batch, [], seconds, self.now_s)
            if self._scheduler.file_is_due(self.now_s):
                self._pack_on_the_way(self._scheduler.file_plan().ipc)
        return True

    def _is_cut_short(self, batch_end_s: float, *, can_end: bool) -> bool:
        """Whether the alarm or the guard comes before the end of the batch; then they pack."""
        alarm_s = self._scheduler.interrupt_at_s()
        hangs_s = self._scheduler.patience_s(1, self.now_s)  # asked for anew before the alarm?
        if self._alarm and can_end and batch_end_s > alarm_s and self.now_s + hangs_s >= alarm_s:
            self.now_s = max(self.now_s, alarm_s)
            self._write_last_file()
            return True
        guard_at_s = self._scheduler.watch("cifar100").guard_at_s
        if self._guard and not can_end and batch_end_s > guard_at_s:
            self.now_s = max(self.now_s, guard_at_s)
            self._pack(min(self._rounds.counts), stubborn=True)
            return True
        return False

    def _pack_on_the_way(self, ipc: int) -> None:
        started_s = self.now_s
        if self._pack(ipc, stubborn=False) is not None:
            self._scheduler.file_tried(self.now_s - started_s)

    def _write_last_file(self) -> bool:
        ipc = self._scheduler.file_plan().ipc
        while ipc:
            images_per_s = self._pack(ipc, stubborn=False)
            if images_per_s is None:
                return True
            left_s = self.limit_s - self.now_s
            ipc = min(int(SAFE_SHARE * images_per_s * left_s / self.classes), ipc - 1)
            if ipc * self.classes <= self.images_in_file:
                return False
        return False

    def _pack(self, ipc: int, *, stubborn: bool) -> float | None:
        """Write a file; the images a second of one that would be too late, None of another."""
        if ipc == 0:
            return None
        images, started_s = ipc * self.classes, self.now_s
        for number, seconds in enumerate(self._weather.pack_s(images, self._rng), start=1):
            self.now_s += seconds
            rate = images * number / 10 / (self.now_s - started_s)
            end_s = self.now_s + images * (1 - number / 10) / rate + RENAME_S
            if self.now_s > self.limit_s - RENAME_S:
                return None if stubborn else 0.0
            if number / 10 >= TELLING_SHARE and end_s > self.limit_s and not stubborn:
                return rate
        self.now_s += 0.005
        self.end_s, self.images_in_file = self.now_s, images
        self._scheduler.file_written(images, self.now_s - started_s)
        return None


@dataclass(frozen=True)
class Outcome:
    """What became of one run; ``lost`` is the share of its complete rounds that it did not keep."""

    missed: bool
    late: bool
    lost: float
    unused: float

    @classmethod
    def of(cls, run: SimulatedRun) -> "Outcome":
        """The outcome of a run that is over."""
        whole = run.generated // run.classes * run.classes
        return cls(
            missed=run.images_in_file == 0,
            late=run.end_s > run.limit_s,
            lost=1 - run.images_in_file / whole if whole else 0.0,
            unused=(run.limit_s - run.end_s) / run.limit_s,
        )


def simulate(seed: int, *, guard: bool, alarm: bool) -> Outcome:
    """One run."""
    return Outcome.of(SimulatedRun(seed, guard=guard, alarm=alarm).run())


def table(runs: int, first_seed: int = 0) -> dict[str, list[Outcome]]:
    """All rows, each over the same runs."""
    seeds = range(first_seed, first_seed + runs)
    with ProcessPoolExecutor() as pool:
        return {
            title: list(pool.map(partial(simulate, guard=guard, alarm=alarm), seeds, chunksize=50))
            for title, (guard, alarm) in ROWS.items()
        }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10_000)
    options = parser.parse_args()
    write = sys.stdout.write
    write(f"{options.runs} runs of {LIMIT_S:g} s, {CLASSES} classes\n")
    write(f"{'':16} no file  late  lost > 1 %  lost (mean)  unused: median   mean   95 %\n")
    for title, outcomes in table(options.runs).items():
        unused = sorted(outcome.unused for outcome in outcomes)
        write(
            f"{title:16} {sum(o.missed for o in outcomes):7} {sum(o.late for o in outcomes):5} "
            f"{sum(o.lost > 0.01 for o in outcomes):11} "
            f"{statistics.mean(o.lost for o in outcomes):12.3%} "
            f"{statistics.median(unused):15.2%} {statistics.mean(unused):6.2%} "
            f"{unused[int(0.95 * len(unused))]:6.2%}\n"
        )


if __name__ == "__main__":
    main()
