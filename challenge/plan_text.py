"""A plan in words: the lines at the start of a run, and rows of tables with planned beside actual.

Plain text only; the console sets it.
"""

from collections.abc import Mapping
from typing import Any

from challenge.forecast import DatasetPlan
from challenge.plan import UNTIMED, RunPlan
from challenge.spec import DATASETS

SHARED = "before the images"
NO_PLAN: dict[str, Any] = {"phases_s": {}, "datasets": {}}
PLAN_HEADINGS = ("", "seconds", "reserve", "images", "images/s", "a class")
RESULT_HEADINGS = ("", "planned s", "seconds", "planned images", "images")


def rate(per_s: float) -> str:
    """Three digits, and all of those before the point: 4.38, 106, 5,853."""
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.3g}"


def plan_lines(plan: RunPlan) -> list[str]:
    """The plan in a few lines that fit into 80 columns with the time in front."""
    kind = "plan" if plan.measured else "plan, a guess"
    lines = [f"{kind}: {sum(plan.shared_s.values()):.1f} s before the first image"]
    for each in plan.datasets:
        images = f"about {each.images:,} images at {rate(each.images_per_s)}/s"
        lines.append(f"  {DATASETS[each.dataset].title}: {images}, {each.ipc:,} a class")
        lines.append(f"    {_seconds(each.phases_s)}")
    return [*lines, f"  {plan.basis}"]


def plan_rows(plan: RunPlan) -> list[tuple[str, ...]]:
    """Under PLAN_HEADINGS a row for what all data sets share, and one for each."""
    shared = (SHARED, _total(plan.shared_s), "", "", "", "")
    return [shared, *(_plan_row(each) for each in plan.datasets)]


def _plan_row(plan: DatasetPlan) -> tuple[str, ...]:
    return (
        DATASETS[plan.dataset].title,
        f"{plan.seconds:.1f}",
        f"{plan.reserve_s:.1f}",
        f"{plan.images:,}",
        rate(plan.images_per_s),
        f"{plan.ipc:,}",
    )


def plan_phases(plan: RunPlan) -> list[str]:
    """Seconds of each phase, a line for what all data sets share and one for each."""
    lines = [f"{SHARED}: {_seconds(plan.shared_s)}"]
    lines += [
        f"{DATASETS[each.dataset].title}: {_seconds(each.phases_s)}"
        for each in plan.datasets
        if each.images
    ]
    return lines


def result_rows(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Under RESULT_HEADINGS what a run's record tells, planned beside actual."""
    beside = record["plan_vs_actual"] or NO_PLAN
    phases_s = _timed(record["phases_s"])
    rows: list[tuple[str, ...]] = [
        (SHARED, _total(_planned_s(beside["phases_s"])), _total(phases_s), "", "")
    ]
    for name, entry in record["datasets"].items():
        planned = beside["datasets"].get(name)
        rows.append(
            (
                DATASETS[name].title,
                _total(_planned_s(planned["phases_s"])) if planned else "",
                _total(_timed(entry["phases_s"])),
                f"{planned['images']['planned']:,}" if planned else "",
                f"{entry['generated']:,}",
            )
        )
    return rows


def result_phases(record: Mapping[str, Any]) -> list[str]:
    """Seconds of each phase with the planned ones behind, a line for each part of the run."""
    beside = record["plan_vs_actual"] or NO_PLAN
    planned_s = _planned_s(beside["phases_s"])
    lines = [f"{SHARED}: {_seconds(_timed(record['phases_s']), planned_s)}"]
    for name, entry in record["datasets"].items():
        planned_s = _planned_s(beside["datasets"].get(name, NO_PLAN)["phases_s"])
        lines.append(f"{DATASETS[name].title}: {_seconds(_timed(entry['phases_s']), planned_s)}")
    return lines


def _timed(phases_s: Mapping[str, float]) -> dict[str, float]:
    """The phases before the clock has stopped."""
    return {name: seconds for name, seconds in phases_s.items() if name != UNTIMED}


def _planned_s(phases: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """The planned seconds of those phases that were planned."""
    planned = {name: entry["planned_s"] for name, entry in phases.items()}
    return {name: seconds for name, seconds in planned.items() if seconds is not None}


def _total(phases_s: Mapping[str, float]) -> str:
    """Seconds of all phases; empty where nothing is known."""
    return f"{sum(phases_s.values()):.1f}" if phases_s else ""


def _seconds(phases_s: Mapping[str, float], planned_s: Mapping[str, float] | None = None) -> str:
    """Phases and their seconds, but those of hardly any; what was planned in brackets."""
    planned_s = planned_s or {}
    told = [name for name, s in phases_s.items() if max(s, planned_s.get(name, 0.0)) >= 0.05]
    parts = [
        f"{name} {phases_s[name]:.1f}"
        + (f" (planned {planned_s[name]:.1f})" if name in planned_s else "")
        for name in told
    ]
    return ", ".join(parts)
