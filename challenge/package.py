"""The zip that is handed in: the submission files of a run, and what says how they came about.

The submission files stand where the official README's sample has them, at the top. A run of several
rounds keeps its folders. Images of 256 levels compress to about two fifths (10 real ones a class).
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from challenge.check import check_submission
from challenge.errors import OutputError, SubmissionError, first_line
from challenge.labels_file import labels_path
from challenge.records import explaining_os_errors, sidecar_path, sidecar_warnings
from challenge.spec import DATASETS, OFFICIAL_IPC
from challenge.submission_layout import files_by_dataset

RECORDS = ("run.json", "evaluation.json", "scores.txt", "samples.png")


@dataclass(frozen=True)
class Package:
    """A written zip; ``warnings`` are what its author should know before it is handed in."""

    path: Path
    files: tuple[str, ...]
    bytes: int
    warnings: tuple[str, ...]


def write_package(run_dir: Path, path: Path) -> Package:
    """Check the submission files of ``run_dir`` and put them into a new zip at ``path``.

    Raises:
        OutputError: ``path`` is taken or cannot be written.
        SubmissionError: there is no submission, or one is invalid.
    """
    if not run_dir.is_dir():
        raise SubmissionError(f"{run_dir} is no run folder; give the folder that generate made")
    if path.exists():
        raise OutputError(f"{path} is there already; give --out a new file")
    submissions = [file for files in files_by_dataset(run_dir).values() for file in files]
    reports = [check_submission(file) for file in submissions]
    if problems := [problem for report in reports for problem in report.problems]:
        raise SubmissionError(f"not packed: {'; '.join(problems)}")
    warnings = [warning for report in reports for warning in report.warnings]
    for report in reports:
        warnings += sidecar_warnings(report.path, report.sha256)
    folders = dict.fromkeys(file.parent for file in submissions)
    warnings += [warning for folder in folders for warning in _run_warnings(folder / "run.json")]
    for spec in DATASETS.values():
        found = [report for report in reports if report.dataset == spec.name]
        if not found:
            warnings.append(f"no {spec.file_name}: the challenge asks for both sets")
        elif any(report.images != OFFICIAL_IPC * spec.num_classes for report in found):
            warnings.append(
                f"{spec.file_name}: the public official script takes {OFFICIAL_IPC} images a class "
                "only"
            )
    files = _with_records(run_dir, submissions)
    _write_zip(run_dir, files, path)
    names = tuple(str(file.relative_to(run_dir)) for file in files)
    return Package(path, names, path.stat().st_size, tuple(warnings))


def _run_warnings(path: Path) -> list[str]:
    """What the record of the run says against handing its files in; nothing where there is none."""
    if not path.exists():
        return []
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        verdict, problems = record["verdict"], record.get("problems", [])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{path} cannot be read ({first_line(error)})"]
    if verdict is None:
        return [f"{path} has no verdict: the run was killed, or is not over yet"]
    if verdict != "VALID":
        return [f"{path} says {verdict}: {'; '.join(map(str, problems))}"]
    return []


def _with_records(run_dir: Path, submissions: list[Path]) -> list[Path]:
    """The submissions, then what lies beside them."""
    beside = [way(file) for file in submissions for way in (labels_path, sidecar_path)]
    folders = dict.fromkeys([run_dir, *(file.parent for file in submissions)])
    beside += [folder / name for folder in folders for name in RECORDS]
    return submissions + [file for file in beside if file.is_file()]


def _write_zip(run_dir: Path, files: list[Path], path: Path) -> None:
    """Write under another name first, so that no half zip is handed in."""
    partial = path.with_name(f".{path.name}.partial")
    with explaining_os_errors(path):
        try:
            with zipfile.ZipFile(partial, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for file in files:
                    archive.write(file, file.relative_to(run_dir))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
