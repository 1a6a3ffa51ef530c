"""The page itself: runs to one HTML text that loads nothing from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from challenge.errors import OutputError
from challenge.records import explaining_os_errors
from challenge.report.charts import line_chart
from challenge.report.dataset_section import DatasetSection, accuracy_text, dataset_section
from challenge.report.run_folder import Document, RunFolder
from challenge.report.timeline import Timeline, memory_curve, timeline
from challenge.spec import DATASETS
from challenge.train_images import TrainImages

MARK = '<meta name="generator" content="challenge report">'
PICTURE_BYTES = 14_000_000  # of a page, base64 included; the rest stays under 4 MB
EMPTY: Document = {
    "verdict": None, "elapsed_s": None, "limit_s": None, "generator": None, "machine": None,
    "settings": {}, "datasets": {}, "problems": [], "warnings": [],
}  # fmt: skip
NOT_COMPARED = ("out", "json", "resume", "dry_run")  # settings that differ without a meaning


@dataclass(frozen=True)
class RunSection:
    """One run as the template takes it."""

    run: RunFolder
    anchor: str
    timeline: Timeline | None
    memory: Markup | None
    datasets: list[DatasetSection]
    plan_rows: list[tuple[str, str, float | None, float | None]]

    @property
    def record(self) -> Document:
        """What run.json says, with empty values for what an unfinished run has not got."""
        return {**EMPTY, **self.run.record}


def render(runs: Sequence[RunFolder], data: Path | None, images_per_class: int) -> str:
    """The page as text.

    Raises:
        DataError: ``data`` lacks the training images of a data set of the runs.
    """
    names = [name for name in DATASETS if any(name in run.image_sets for run in runs)]
    real = {name: TrainImages.below(DATASETS[name], data) for name in names} if data else {}
    parts = max(1, sum(len(run.image_sets) for run in runs))
    sections = [
        RunSection(
            run=run,
            anchor=f"run-{number}",
            timeline=timeline(run),
            memory=line_chart(
                {"process": memory_curve(run), "GPU": memory_curve(run, "gpu_memory_gib")},
                "seconds",
                "GiB in use",
            ),
            datasets=[
                dataset_section(run, name, real.get(name), images_per_class, PICTURE_BYTES // parts)
                for name in DATASETS
                if name in run.image_sets or name in run.record.get("datasets", {})
            ],
            plan_rows=_plan_rows(run),
        )
        for number, run in enumerate(runs, start=1)
    ]
    environment = Environment(
        loader=PackageLoader("challenge.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"accuracy": accuracy_text, "flat": flat}
    template = environment.get_template("template.html")
    return template.render(mark=Markup(MARK), sections=sections, differences=differences(sections))


def write_page(path: Path, text: str) -> None:
    """Write ``path`` in one step; another command's or person's file is never replaced."""
    require_replaceable(path)
    with explaining_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def require_replaceable(path: Path) -> None:
    """Raise ``OutputError`` unless nothing stands at ``path``, or a page of this command."""
    if not path.exists():
        return
    start = ""
    if path.is_file():
        with explaining_os_errors(path), path.open("rb") as file:
            start = file.read(1000).decode(errors="replace")
    if MARK not in start:
        raise OutputError(f"{path} is there and no page of this command; give --out another place")


def differences(sections: Sequence[RunSection]) -> dict[str, list[tuple[str, list[str]]]]:
    """Rows of the comparison: settings in which the runs differ, and all results."""
    if len(sections) < 2:
        return {}
    flats = [flat(section.run.record.get("settings", {})) for section in sections]
    keys = dict.fromkeys(key for each in flats for key in each if key not in NOT_COMPARED)
    rows = {key: [each.get(key, "") for each in flats] for key in keys}
    results = [_results(section) for section in sections]
    titles = dict.fromkeys(title for each in results for title in each)
    return {
        "settings": [(key, row) for key, row in rows.items() if len(set(row)) > 1],
        "results": [(title, [each.get(title, "") for each in results]) for title in titles],
    }


def _results(section: RunSection) -> dict[str, str]:
    """The headline numbers of one run."""
    record = section.run.record
    found = {"verdict": str(record.get("verdict", "not finished"))}
    if "elapsed_s" in record:
        found["seconds"] = f"{record['elapsed_s']:.1f}"
    for each in section.datasets:
        title = each.spec.title
        if each.record:
            found[f"{title}: distinct images"] = f"{each.record['generated']:,}"
            found[f"{title}: images a class in the file"] = f"{each.record['ipc']}"
            found[f"{title}: images/s"] = f"{each.record['images_per_s'] or 0:.1f}"
        if each.evaluation:
            found[f"{title}: accuracy, {each.evaluation['protocol']}"] = accuracy_text(
                each.evaluation
            )
    return found


def _plan_rows(run: RunFolder) -> list[tuple[str, str, float | None, float | None]]:
    """Planned beside actual seconds of each phase: where, phase, planned, actual."""
    beside = run.record.get("plan_vs_actual") or {}
    groups = [("before the images", beside.get("phases_s", {}))]
    groups += [
        (DATASETS[name].title, each.get("phases_s", {}))
        for name, each in beside.get("datasets", {}).items()
        if name in DATASETS
    ]
    return [
        (where, phase, each["planned_s"], each["actual_s"])
        for where, phases in groups
        for phase, each in phases.items()
    ]


def flat(document: Any, prefix: str = "") -> dict[str, str]:
    """Nested values as one list of names and texts."""
    if not isinstance(document, dict):
        return {prefix: "" if document is None else str(document)}
    found: dict[str, str] = {}
    for key, value in document.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found
