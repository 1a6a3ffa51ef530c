"""What a run is expected to do: seconds of each phase, images, and the choices with their reasons.

A plan is arithmetic on costs: those that an earlier run or a dry run on this machine left (then it
is measured), or those of this run's own warm-up (then it is a guess, and says so). It promises
nothing and steers nothing; the scheduler decides while the run goes on. The reserve and the images
of a file are worked out by the very code that the scheduler uses, so a plan cannot follow other
rules than the run.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

from challenge.batch_sizer import PLANNED_SIZE
from challenge.budget import Deadline, PackCost
from challenge.file_plan import FLOAT32_BYTES, FileCeiling, file_ceiling, plan_file, variants_for
from challenge.settings import GenerateSettings
from challenge.spec import DatasetName, DatasetSpec

MOST_ROUNDS = 10**7  # a week at 1,600 images/s and 100 classes
UNTIMED = "records"  # the phase after the clock has stopped


@dataclass(frozen=True)
class DatasetCosts:
    """What one data set's images and files cost.

    ``generate_s`` is how many seconds ``images_per_s`` was measured over; ``batch_size`` is the one
    it was settled on, None before there was one. ``files`` holds the images and seconds of a small
    and of a large file; ``file_s_per_image`` splits what all files of a run took by phase, for each
    image of the last one.
    """

    images_per_s: float
    generate_s: float
    batch_size: int | None
    files: tuple[tuple[int, float], ...]
    file_s_per_image: dict[str, float]


@dataclass(frozen=True)
class MeasuredCosts:
    """What a run cost: seconds of the shared phases, and the costs of each data set by name."""

    shared_s: dict[str, float]
    datasets: dict[str, DatasetCosts]


@dataclass(frozen=True)
class PlanChoice:
    """Something that was chosen, and why."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class DatasetPlan:
    """One data set: ``images`` distinct ones, ``ipc`` a class in the file.

    ``reserve_s`` is kept for the last file; what of it is not needed stays unused.
    """

    dataset: DatasetName
    phases_s: dict[str, float]
    reserve_s: float
    images: int
    images_per_s: float
    ipc: int
    file_bytes: int
    journal_bytes: int

    @property
    def seconds(self) -> float:
        """All phases together."""
        return sum(self.phases_s.values())


@dataclass(frozen=True)
class RunPlan:
    """The whole run; ``problems`` says what makes it impossible, each with numbers.

    ``measured`` is False for a guess; ``basis`` says what the numbers come from.
    """

    measured: bool
    basis: str
    shared_s: dict[str, float]
    datasets: tuple[DatasetPlan, ...]
    choices: tuple[PlanChoice, ...]
    problems: tuple[str, ...]


def make_plan(
    settings: GenerateSettings,
    costs: MeasuredCosts,
    dtype: str,
    free_bytes: int,
    *,
    measured: bool,
    basis: str,
) -> RunPlan:
    """Plan a run of ``settings`` at ``costs``, which know each of its data sets.

    ``free_bytes`` is what the disk of the run folder has left.
    """
    shared_s = sum(costs.shared_s.values())
    counted_s = shared_s if settings.clock == "process" else 0.0
    plans: list[DatasetPlan] = []
    problems: list[str] = []
    start_s = 0.0
    for index, spec in enumerate(settings.specs):
        deadline = Deadline.share(
            start_s=start_s,
            run_start_s=0.0,
            limit_s=settings.limit_s,
            covers=settings.limit_covers,
            sets_left=len(settings.specs) - index,
        )
        before_s = counted_s if index == 0 else 0.0
        available_s = deadline.seconds - before_s
        taken = sum(plan.file_bytes + plan.journal_bytes for plan in plans)
        room = max(0, free_bytes - taken) // (len(settings.specs) - index)
        ceiling = file_ceiling(spec, settings.max_file_gib, room)
        forecast = _Forecast(settings, spec, costs.datasets[spec.name], ceiling)
        plans.append(forecast.plan(available_s))
        if settings.ipc != "auto" and settings.ipc > ceiling.ipc:
            problems.append(_too_small(spec, ceiling, settings.ipc))
        elif ceiling.ipc < 1:
            problems.append(_too_small(spec, ceiling, 1))
        elif plans[-1].images == 0:
            sharing = len(settings.specs) - index if settings.limit_covers == "all" else 1
            problems.append(_too_short(spec, forecast, deadline.seconds, before_s, sharing))
        start_s += before_s + plans[-1].seconds
    return RunPlan(
        measured=measured,
        basis=basis,
        shared_s=dict(costs.shared_s),
        datasets=tuple(plans),
        choices=_choices(settings, costs, plans, dtype),
        problems=tuple(problems),
    )


class _Forecast:
    """How many images of one data set fit into a time, at its costs."""

    def __init__(
        self,
        settings: GenerateSettings,
        spec: DatasetSpec,
        costs: DatasetCosts,
        ceiling: FileCeiling,
    ) -> None:
        self._spec, self._costs, self._ceiling = spec, costs, ceiling
        self._target_ipc = None if settings.ipc == "auto" else settings.ipc
        self._augment = settings.augment != "none"
        self._pack = PackCost()
        for images, seconds in costs.files:
            self._pack.observe(images, seconds)

    def plan(self, available_s: float) -> DatasetPlan:
        """The plan for so many seconds; of no image when not even one of each class fits."""
        images = self._images(available_s)
        rounds = ceil(images / self._spec.num_classes)
        if not self._augment:
            rounds = images // self._spec.num_classes
        file_images = self._file_images(rounds) if images else 0
        pixels = prod(self._spec.image_shape)
        phases_s = {"generate": images / self._costs.images_per_s}
        phases_s |= {
            phase: seconds * file_images for phase, seconds in self._costs.file_s_per_image.items()
        }
        return DatasetPlan(
            dataset=self._spec.name,
            phases_s=phases_s,
            reserve_s=self._pack.pessimistic_s(file_images) if images else 0.0,
            images=images,
            images_per_s=self._costs.images_per_s,
            ipc=file_images // self._spec.num_classes,
            file_bytes=file_images * pixels * FLOAT32_BYTES,
            journal_bytes=images * pixels,
        )

    def needed_s(self, rounds: int) -> float:
        """Seconds for so many complete rounds, the files on the way and the last one's reserve."""
        return rounds * self._round_s + self._files_s(rounds)

    @property
    def _most_rounds(self) -> int:
        """Rounds after which the run ends, however much time is left: no file could hold more."""
        wanted = MOST_ROUNDS if self._target_ipc is None else self._target_ipc
        return min(wanted, self._ceiling.ipc)

    @property
    def _round_s(self) -> float:
        return self._spec.num_classes / self._costs.images_per_s

    def _files_s(self, rounds: int) -> float:
        images = self._file_images(rounds)
        all_files_s = images * sum(self._costs.file_s_per_image.values())
        on_the_way_s = max(0.0, all_files_s - self._pack.expected_s(images))
        return on_the_way_s + self._pack.pessimistic_s(images)

    def _file_images(self, rounds: int) -> int:
        plan = plan_file(
            [rounds], self._target_ipc, augment=self._augment, most_ipc=self._ceiling.ipc
        )
        return plan.ipc * self._spec.num_classes

    def _images(self, available_s: float) -> int:
        """Distinct images: all complete rounds that fit, and what fits of the next."""
        rounds = self._rounds(available_s)
        classes = self._spec.num_classes
        if rounds in (0, self._most_rounds):
            return rounds * classes
        left_s = available_s - rounds * self._round_s - self._files_s(rounds + 1)
        return rounds * classes + int(max(0.0, left_s) * self._costs.images_per_s)

    def _rounds(self, available_s: float) -> int:
        """Complete rounds until the first that does not fit, as the scheduler stops.

        Up to 128 one by one, since with fewer variants a file of more distinct images may be the
        smaller one (``variants_for``); from there on more rounds always need more time.
        """
        most = self._most_rounds
        for rounds in range(1, min(most, 128) + 1):
            if self.needed_s(rounds) > available_s:
                return rounds - 1
        return bisect_right(range(most + 1), available_s, lo=min(most, 128), key=self.needed_s) - 1


def _too_short(
    spec: DatasetSpec, forecast: _Forecast, has_s: float, before_s: float, sharing: int
) -> str:
    """What one image a class needs; ``sharing`` sets have an equal part of what is added."""
    least_s = before_s + forecast.needed_s(1)
    before = f"{before_s:.1f} s before the first image, " if before_s else ""
    return (
        f"{spec.title} has {has_s:.1f} s and one image of each of its {spec.num_classes} classes "
        f"needs about {least_s:.1f} s ({before}{least_s - before_s:.1f} s for the images and "
        f"their file); raise --limit-s by {ceil(sharing * (least_s - has_s))} s or more, "
        "or take a faster model or device"
    )


def _too_small(spec: DatasetSpec, ceiling: FileCeiling, ipc: int) -> str:
    """What to say when a file of ``ipc`` images a class has no room."""
    return (
        f"a file of {ipc:,} images a class of {spec.title} has no room: there is some for "
        f"{ceiling.ipc:,}, since {ceiling.because}; make room, give --out on another disk, or "
        "raise --max-file-gib"
    )


def _choices(
    settings: GenerateSettings, costs: MeasuredCosts, plans: Sequence[DatasetPlan], dtype: str
) -> tuple[PlanChoice, ...]:
    """What was chosen for this run, with reasons."""
    dtype_reason = "the device's default" if settings.dtype == "auto" else "--dtype"
    return (
        _batch_size_choice(settings, [costs.datasets[plan.dataset] for plan in plans]),
        PlanChoice("dtype", dtype, dtype_reason),
        _variants_choice(settings, plans),
        _limit_choice(settings, plans),
    )


def _batch_size_choice(settings: GenerateSettings, costs: Sequence[DatasetCosts]) -> PlanChoice:
    if settings.batch_size != "auto":
        return PlanChoice("batch size", str(settings.batch_size), "--batch-size")
    if settings.ipc != "auto":
        return PlanChoice("batch size", str(PLANNED_SIZE), "fixed with --ipc: same plan, same file")
    sizes = [str(each.batch_size) for each in costs if each.batch_size is not None]
    if len(sizes) < len(costs):
        return PlanChoice("batch size", "auto", "found while running: doubled while that is faster")
    return PlanChoice("batch size", ", ".join(sizes), "the fastest when the costs were measured")


def _variants_choice(settings: GenerateSettings, plans: Sequence[DatasetPlan]) -> PlanChoice:
    if settings.augment == "none":
        return PlanChoice("variants", "0", "--augment none")
    each = ", ".join(str(_variants(plan, settings)) for plan in plans)
    return PlanChoice(
        "variants", each, "per distinct image; the more distinct ones, the fewer variants"
    )


def _limit_choice(settings: GenerateSettings, plans: Sequence[DatasetPlan]) -> PlanChoice:
    if len(plans) == 1:
        return PlanChoice("limit", f"{settings.limit_s:g} s", "one data set")
    if settings.limit_covers == "each":
        value = f"{settings.limit_s:g} s each"
        return PlanChoice(
            "limit", value, "--limit-covers each: a set begins when the one before is done"
        )
    split = ", ".join(f"{plan.dataset} {plan.seconds:.0f} s" for plan in plans)
    return PlanChoice("limit", f"{settings.limit_s:g} s in all", f"--limit-covers all: {split}")


def _variants(plan: DatasetPlan, settings: GenerateSettings) -> int:
    """Variants of each distinct image that the plan's file holds, at most."""
    distinct = max(1, ceil(plan.images / _classes(plan, settings)))
    return min(variants_for(distinct), max(0, ceil(plan.ipc / distinct) - 1))


def _classes(plan: DatasetPlan, settings: GenerateSettings) -> int:
    return next(spec.num_classes for spec in settings.specs if spec.name == plan.dataset)


def plan_vs_actual(
    plan: RunPlan, phases_s: Mapping[str, float], datasets: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Planned beside actual: seconds of each phase, images and ipc of each data set.

    ``phases_s`` and ``datasets`` are those of the run's record; None stands where a run did not get
    to something, or where the plan did not know of it.
    """
    shared = {name: seconds for name, seconds in phases_s.items() if name != UNTIMED}
    beside: dict[str, Any] = {
        "measured": plan.measured,
        "phases_s": _beside(plan.shared_s, shared),
        "datasets": {},
    }
    for planned in plan.datasets:
        actual = datasets.get(planned.dataset, {})
        beside["datasets"][planned.dataset] = {
            "phases_s": _beside(planned.phases_s, actual.get("phases_s", {})),
            "images": {"planned": planned.images, "made": actual.get("generated")},
            "ipc": {"planned": planned.ipc, "made": actual.get("ipc")},
        }
    return beside


def _beside(
    planned: Mapping[str, float], actual: Mapping[str, float]
) -> dict[str, dict[str, float | None]]:
    return {
        name: {"planned_s": planned.get(name), "actual_s": actual.get(name)}
        for name in dict.fromkeys([*planned, *actual])
    }
