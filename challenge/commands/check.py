"""The ``check`` command: is a submission valid, and what is in it; ours or another's.

python run_challenge.py check submissions/NAME
python run_challenge.py check cifar100.pt --json
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from challenge.console import TITLES, make_table, results, verdict_panel, write_document
from challenge.records import SCHEMA_VERSION, sidecar_warnings
from challenge.settings import CheckSettings
from challenge.submission_layout import files_by_dataset

if TYPE_CHECKING:
    from challenge.check import SubmissionReport


def check(settings: CheckSettings) -> int:
    """Run the command; returns the exit code, 0 for VALID and 1 for INVALID."""
    from challenge.check import check_submission

    paths = [path for paths in files_by_dataset(settings.submission).values() for path in paths]
    reports = [check_submission(path, settings.dataset) for path in paths]
    problems = [problem for report in reports for problem in report.problems]
    warnings = [warning for report in reports for warning in report.warnings]
    for report in reports:
        warnings += sidecar_warnings(report.path, report.sha256)
    verdict = "INVALID" if problems else "VALID"
    datasets: dict[str, Any] = {
        _name(report, many=len(reports) > len({each.dataset for each in reports})): {
            "path": str(report.path),
            "images": report.images,
            "ipc": report.ipc,
            "sha256": report.sha256,
            "mean": report.mean,
            "std": report.std,
        }
        for report in reports
        if report.dataset is not None and report.images
    }
    document = {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict,
        "problems": problems,
        "warnings": warnings,
        "datasets": datasets,
    }
    if settings.json:
        write_document(document)
    else:
        _show(verdict, problems, warnings, datasets)
    return 0 if verdict == "VALID" else 1


def _name(report: "SubmissionReport", *, many: bool) -> str:
    """The data set, with its round's folder where there are several rounds."""
    return f"{report.path.parent.name}/{report.dataset}" if many else str(report.dataset)


def _show(verdict: str, problems: list[str], warnings: list[str], datasets: dict[str, Any]) -> None:
    """The panel: what is wrong, what to look at, and what the files hold."""
    lines = problems + [f"warning: {warning}" for warning in warnings]
    lines += [f"{entry['path']}: sha256 {entry['sha256']}" for entry in datasets.values()]
    rows = [
        (
            TITLES.get(name, name),
            f"{entry['images']:,}",
            str(entry["ipc"]),
            _channels(entry["mean"]),
            _channels(entry["std"]),
        )
        for name, entry in datasets.items()
    ]
    headings = ("", "images", "a class", "mean R G B", "std R G B")
    results().print(verdict_panel(verdict, lines, make_table(headings, rows) if rows else None))


def _channels(values: Sequence[float] | None) -> str:
    """Three numbers, or nothing where the file could not be read that far."""
    return "" if values is None else " ".join(f"{value:.3f}" for value in values)
