"""Listens to a run: gathers what it costs, and makes its plan as soon as there is one to make.

With the costs of an earlier run the plan stands at the start. Without, it is made of what the
warm-up measured, just before the first image, and marked as a guess.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from challenge.budget import PhaseTimer
from challenge.calibration import Calibration
from challenge.events import (
    BatchFinished,
    DatasetFinished,
    DatasetStarted,
    Emit,
    Event,
    FileWritten,
    PlanMade,
    TrialBatch,
    TrialFile,
)
from challenge.forecast import DatasetCosts, MeasuredCosts
from challenge.plan import UNTIMED, RunPlan, make_plan
from challenge.settings import GenerateSettings

NOT_PACKING = ("generate", "compile", UNTIMED)  # phases of a data set
GUESS = "from one image and two small files of the warm-up; batches are faster"


@dataclass
class _Seen:
    """What the events of one data set told so far; ``batches`` is images and seconds by size.

    ``trial_image_s`` stays None where the warm-up's images of another data set had the same size.
    """

    trial_image_s: float | None = None
    batches: dict[int, tuple[int, float]] = field(default_factory=dict)
    images_per_s: float = 0.0
    files: dict[int, float] = field(default_factory=dict)
    warm_up_phases_s: dict[str, float] = field(default_factory=dict)
    finished: bool = False


class CostWatch:
    """Turns the events of a run, whole or cut off, into costs to plan the next one with."""

    def __init__(self, timer: PhaseTimer) -> None:
        self._timer = timer
        self._shared_s: dict[str, float] | None = None
        self._trial_image_s: float | None = None
        self._seen: dict[str, _Seen] = defaultdict(_Seen)

    def see(self, event: Event) -> None:
        """Take in one event; those that tell no cost are passed over."""
        match event:
            case TrialBatch(dataset=name, size=size, seconds=seconds):
                self._seen[name].trial_image_s = self._trial_image_s = seconds / size
            case TrialFile(dataset=name, images=images, seconds=seconds, phases_s=phases_s):
                self._seen[name].files[images] = seconds
                self._seen[name].warm_up_phases_s = phases_s
            case BatchFinished(dataset=name, size=size, seconds=seconds):
                made, took_s = self._seen[name].batches.get(size, (0, 0.0))
                self._seen[name].batches[size] = (made + size - event.rejected, took_s + seconds)
                self._seen[name].images_per_s = event.images_per_s
            case FileWritten(dataset=name, images=images, seconds=seconds):
                self._seen[name].files[images] = seconds
            case DatasetFinished(dataset=name):
                self._seen[name].finished = True
            case DatasetStarted() if self._shared_s is None:
                totals_s = self._timer.totals_s()
                self._shared_s = {name: s for name, s in totals_s.items() if name != UNTIMED}

    def generating_s(self, dataset: str) -> float:
        """Seconds of batches seen of this data set."""
        return sum(seconds for _, seconds in self._seen[dataset].batches.values())

    def costs(self, datasets: Sequence[str]) -> MeasuredCosts | None:
        """What is known by now; None before all these data sets were warmed up."""
        if self._shared_s is None or not all(self._seen[name].files for name in datasets):
            return None
        return MeasuredCosts(
            dict(self._shared_s), {name: self._dataset_costs(name) for name in datasets}
        )

    def _dataset_costs(self, name: str) -> DatasetCosts:
        seen = self._seen[name]
        files = sorted(seen.files.items())
        return DatasetCosts(
            images_per_s=self._images_per_s(seen),
            generate_s=self.generating_s(name),
            batch_size=_main_size(seen) if seen.batches else None,
            files=tuple(dict.fromkeys([files[0], files[-1]])),
            file_s_per_image=_file_s_per_image(seen, self._timer.totals_s(name)),
        )

    def _images_per_s(self, seen: _Seen) -> float:
        """A whole run's mean; else the rate of the size that most images came in; else of one."""
        if seen.finished:
            return seen.images_per_s
        if seen.batches and (made := seen.batches[_main_size(seen)])[0]:
            return made[0] / made[1]
        trial_image_s = seen.trial_image_s or self._trial_image_s
        assert trial_image_s is not None  # the warm-up comes first
        return 1 / trial_image_s


def _main_size(seen: _Seen) -> int:
    """The batch size that most images came in; the one settled on, but for very short runs."""
    return max(seen.batches, key=lambda size: seen.batches[size][0])


def _file_s_per_image(seen: _Seen, phases_s: dict[str, float]) -> dict[str, float]:
    """Seconds of each packing phase for an image of the last file.

    Of a finished data set all its files count. Else the largest file is split as the warm-up's
    were.
    """
    images, seconds = max(seen.files.items())
    if seen.finished:
        packing_s = {n: s for n, s in phases_s.items() if n not in NOT_PACKING}
        return {name: s / images for name, s in packing_s.items()}
    parts_s = {name: s for name, s in seen.warm_up_phases_s.items() if name}
    whole_s = sum(parts_s.values())
    return {name: seconds / images * s / whole_s for name, s in parts_s.items()}


class Planner:
    """Passes a run's events on, and says ``PlanMade`` once, when the plan can be made."""

    def __init__(
        self,
        settings: GenerateSettings,
        dtype: str,
        free_bytes: int,
        timer: PhaseTimer,
        calibration: Calibration | None,
        emit: Emit,
    ) -> None:
        self._settings, self._dtype, self._free_bytes = settings, dtype, free_bytes
        self._emit = emit
        self._names = tuple(spec.name for spec in settings.specs)
        self._watch = CostWatch(timer)
        self.plan: RunPlan | None = None
        if calibration is not None:
            self._make(calibration.costs, measured=True, basis=calibration.basis)

    def emit(self, event: Event) -> None:
        """Take in an event of the run and pass it on."""
        self._watch.see(event)
        if self.plan is None and isinstance(event, DatasetStarted):
            costs = self.costs()
            if costs is not None:
                self._make(costs, measured=False, basis=GUESS)
        self._emit(event)

    def costs(self) -> MeasuredCosts | None:
        """What the run cost up to now; None while that is not known."""
        return self._watch.costs(self._names)

    def _make(self, costs: MeasuredCosts, *, measured: bool, basis: str) -> None:
        self.plan = make_plan(
            self._settings, costs, self._dtype, self._free_bytes, measured=measured, basis=basis
        )
        self._emit(PlanMade(self.plan))
