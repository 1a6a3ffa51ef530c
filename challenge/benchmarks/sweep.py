"""Our loop at each batch size of a variant, and our best beside the plain pipeline, in turns.

Everything is measured in one process. What is compared is called in turns (A B C A B C ...), one
call each, because machines drift and others use them too: a ratio is of neighbours in time.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from diffusers import DiffusionPipeline

from challenge.benchmarks.rows import BenchmarkRow, Ceiling, Variant, failed_row, measured_row
from challenge.benchmarks.timing import Call, Stopwatch, Timing, joined
from challenge.benchmarks.work import Workload, our_call, pipeline_call
from challenge.generators.base import ImageGenerator

MIN_TURNS = 3  # of the comparison with the baselines
OURS, ONCE, BATCHED = "ours", "pipeline, once per image", "pipeline, batched"
OUT_OF_MEMORY = "out of memory"

Tell = Callable[[BenchmarkRow], None]


@dataclass(frozen=True)
class Bench:
    """What the rows of one benchmark share."""

    stopwatch: Stopwatch
    work: Workload
    seconds_per_row: float
    tell: Tell
    longest_call_s: float = math.inf

    def sweep(
        self,
        generator: ImageGenerator,
        variant: Variant,
        ceiling: Ceiling,
        batch_sizes: Sequence[int],
        load_s: float | None = None,
    ) -> Iterator[BenchmarkRow]:
        """Our loop at each batch size, a row as soon as it is measured.

        Out of memory is a row, and the last one. Nor are sizes tried above one whose calls take
        longer than ``longest_call_s``.
        """
        for size in sorted(set(batch_sizes)):
            call = our_call(generator, self.work, size)
            timing = self.stopwatch.time_if_it_fits(call, self.seconds_per_row)
            if timing is None:
                yield failed_row(OURS, size, variant, OUT_OF_MEMORY)
                return
            yield measured_row(OURS, size, variant, ceiling, timing, load_s)
            if statistics.median(timing.calls_s) > self.longest_call_s:
                return

    def compare(
        self, ours: Sequence["Way"], pipe: DiffusionPipeline, plain: Variant, ceiling: Ceiling
    ) -> "Comparison":
        """Our ways, the pipeline once per image and in batches, in turns; one row each.

        The pipeline may need more memory than we do: then its batch is halved until it fits, and
        each size that does not is a row. ``ceiling`` is of the pipeline's decoder.
        """
        misfits, batch = self._fitting_batch(pipe, plain, max(way.batch_size for way in ours))
        theirs = [self._plain_way(ONCE, pipe, plain, ceiling, 1)]
        if batch:
            theirs.append(self._plain_way(BATCHED, pipe, plain, ceiling, batch))
        turns = self._take_turns([*ours, *theirs])
        rows = [self._row(way, turns.get(way)) for way in (*ours, *theirs)]
        speed_ups = [
            _speed_up(mine, its, turns)
            for mine in ours
            for its in theirs
            if mine in turns and its in turns
        ]
        return Comparison([*rows, *misfits], speed_ups)

    def _take_turns(self, ways: Sequence["Way"]) -> dict["Way", list[Timing]]:
        """One call of each way, over and over, for the seconds of so many rows; each warmed up.

        A way that does not fit into memory is not in the result.
        """
        turns: dict[Way, list[Timing]] = {}
        for way in ways:
            if warm_up := self.stopwatch.time_if_it_fits(way.call, 0.0, min_calls=1):
                turns[way] = [warm_up]
        end_s = time.perf_counter() + self.seconds_per_row * len(ways)
        while time.perf_counter() < end_s or any(len(each) < MIN_TURNS for each in turns.values()):
            for way, timings in turns.items():
                timings.append(self.stopwatch.time_calls(way.call, 0.0, min_calls=1, warm_up=False))
        return turns

    def _plain_way(
        self, method: str, pipe: DiffusionPipeline, plain: Variant, ceiling: Ceiling, size: int
    ) -> "Way":
        call = pipeline_call(pipe, self.work, size, plain.resolution)
        return Way(method, size, plain, ceiling, call)

    def _row(self, way: "Way", timings: Sequence[Timing] | None) -> BenchmarkRow:
        if timings:
            timing = joined(timings)
            row = measured_row(way.method, way.batch_size, way.variant, way.ceiling, timing)
        else:
            row = failed_row(way.method, way.batch_size, way.variant, OUT_OF_MEMORY)
        self.tell(row)
        return row

    def _fitting_batch(
        self, pipe: DiffusionPipeline, variant: Variant, size: int
    ) -> tuple[list[BenchmarkRow], int]:
        """Rows of the pipeline's batches that do not fit, and the largest that does, or 0."""
        misfits: list[BenchmarkRow] = []
        while size:
            call = pipeline_call(pipe, self.work, size, variant.resolution)
            if self.stopwatch.time_if_it_fits(call, 0.0, min_calls=1, warm_up=False):
                break
            misfits.append(failed_row(BATCHED, size, variant, OUT_OF_MEMORY))
            self.tell(misfits[-1])
            size //= 2
        return misfits, size


@dataclass(frozen=True)
class Way:
    """One of the ways that are compared."""

    method: str
    batch_size: int
    variant: Variant
    ceiling: Ceiling
    call: Call


@dataclass(frozen=True)
class SpeedUp:
    """By how much ours, with this decoder, is faster than a way of the pipeline: of each turn."""

    decoder: str
    baseline: str
    ratios: list[float]
    cpu_ratio: float  # of the processor seconds an image


@dataclass(frozen=True)
class Comparison:
    """The rows, and the ratios of their rates."""

    rows: list[BenchmarkRow]
    speed_ups: list[SpeedUp]


def _speed_up(mine: Way, its: Way, turns: Mapping[Way, Sequence[Timing]]) -> SpeedUp:
    """Rate over rate, of each turn."""

    def rates(way: Way) -> list[float]:
        return [way.batch_size / timing.calls_s[0] for timing in turns[way]]

    def cpu_s_per_image(way: Way) -> float:
        return sum(timing.cpu_s for timing in turns[way]) / (way.batch_size * len(turns[way]))

    ratios = [left / right for left, right in zip(rates(mine), rates(its), strict=True)]
    cpu_ratio = cpu_s_per_image(its) / cpu_s_per_image(mine)
    return SpeedUp(mine.variant.decoder, its.method, ratios, cpu_ratio)
