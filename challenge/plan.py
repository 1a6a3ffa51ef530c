"""What a run is expected to do: seconds of each phase, images, and the choices with their reasons.

A plan is arithmetic on costs: those that an earlier run or a dry run on this machine left (then it
is measured), or those of this run's own warm-up (then it is a guess, and says so). It promises
nothing and steers nothing; the scheduler decides while the run goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from challenge.batch_sizer import PLANNED_SIZE
from challenge.budget import Deadline
from challenge.file_plan import FileCeiling, file_ceiling, variants_for
from challenge.forecast import DatasetCosts, DatasetPlan, Forecast, MeasuredCosts
from challenge.settings import GenerateSettings
from challenge.spec import DatasetSpec

UNTIMED = "records"  # the phase after the clock has stopped


@dataclass(frozen=True)
class PlanChoice:
    """Something that was chosen, and why."""

    name: str
    value: str
    reason: str


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
        forecast = Forecast(settings, spec, costs.datasets[spec.name], ceiling)
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


def _too_short(
    spec: DatasetSpec, forecast: Forecast, has_s: float, before_s: float, sharing: int
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
    return min(variants_for(distinct, settings.augment), max(0, ceil(plan.ipc / distinct) - 1))


def _classes(plan: DatasetPlan, settings: GenerateSettings) -> int:
    return next(spec.num_classes for spec in settings.specs if spec.name == plan.dataset)


def plan_vs_actual(
    plan: RunPlan, phases_s: Mapping[str, float], datasets: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Planned beside actual: seconds of each phase, images and ipc of each data set.

    ``phases_s`` and ``datasets`` are those of the run's record; None stands where a run did not get
    to something, or where the plan did not know of it.
    """
    beside: dict[str, Any] = {
        "measured": plan.measured,
        "phases_s": _beside(plan.shared_s, phases_s),
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
        if name != UNTIMED
    }
