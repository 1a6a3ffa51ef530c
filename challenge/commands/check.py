"""The ``check`` command: is a submission valid, and what is in it; ours or another's.

python run_challenge.py check submissions/NAME
python run_challenge.py check cifar100.pt --json
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from challenge.console import TITLES, make_table, results, verdict_panel, write_document
from challenge.errors import SubmissionError
from challenge.records import SCHEMA_VERSION
from challenge.settings import CheckSettings
from challenge.spec import DATASETS


def check(settings: CheckSettings) -> int:
    """Run the command; returns the exit code, 0 for VALID and 1 for INVALID."""
    from challenge.check import check_submission

    paths = submission_files(settings.submission)
    reports = [check_submission(path, settings.dataset) for path in paths]
    problems = [problem for report in reports for problem in report.problems]
    warnings = [warning for report in reports for warning in report.warnings]
    verdict = "INVALID" if problems else "VALID"
    datasets: dict[str, Any] = {
        report.dataset: {
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


def submission_files(path: Path) -> list[Path]:
    """The submission files that ``path`` names: itself, or those in a run folder.

    Raises ``SubmissionError`` when there is none.
    """
    if not path.is_dir():
        return [path]
    found = [
        path / spec.file_name for spec in DATASETS.values() if (path / spec.file_name).exists()
    ]
    if not found:
        names = " nor ".join(spec.file_name for spec in DATASETS.values())
        raise SubmissionError(f"{path} holds neither {names}; give a run folder or a .pt file")
    return found


def _show(verdict: str, problems: list[str], warnings: list[str], datasets: dict[str, Any]) -> None:
    """The panel: what is wrong, what to look at, and what the files hold."""
    lines = problems + [f"warning: {warning}" for warning in warnings]
    lines += [f"{entry['path']}: sha256 {entry['sha256']}" for entry in datasets.values()]
    rows = [
        (
            TITLES[name],
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
