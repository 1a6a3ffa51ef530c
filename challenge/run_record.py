"""What stands in run.json: settings, seconds, counts, checks, machine, versions, commit.

Made after the clock has stopped, so nothing here can make a submission late.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from challenge.budget import PhaseTimer
from challenge.check import check_submission
from challenge.clock import RunClock
from challenge.environment import describe_machine
from challenge.images import contact_sheet
from challenge.journal import Journal
from challenge.presets import changes_of_preset
from challenge.prompts import PromptBook
from challenge.records import SCHEMA_VERSION, noting_errors, write_sidecar
from challenge.run_parts import RunParts
from challenge.run_state import DatasetResult
from challenge.runner import RunResult
from challenge.settings import GenerateSettings
from challenge.spec import DatasetSpec

SHEET_ROWS, SHEET_COLUMNS = 20, 12  # classes in all, images of each


def run_record(
    settings: GenerateSettings,
    books: Mapping[DatasetSpec, PromptBook],
    result: RunResult,
    parts: RunParts,
    clock: RunClock,
) -> dict[str, Any]:
    """The whole record of a run; also writes the sidecars and samples.png, and checks each file.

    The run is VALID when all its data sets are done, in time, and their files pass ``check``.
    """
    by_name: dict[str, PromptBook] = {spec.name: book for spec, book in books.items()}
    datasets = {
        done.dataset: _dataset_record(settings, by_name[done.dataset], done, parts.timer)
        for done in result.datasets
    }
    problems = [problem for entry in datasets.values() for problem in entry["problems"]]
    if result.error is not None:
        problems.insert(0, str(result.error))
    warnings = [warning for entry in datasets.values() for warning in entry["warnings"]]
    for name, entry in parts.state.datasets.items():
        if entry.standing and name not in datasets:
            file = entry.standing.file
            warnings.append(f"{file.path}, made before, still stands: {file.ipc} images a class")
    if parts.state.failure:
        warnings.append(parts.state.failure)
    sheet = parts.run_dir / "samples.png"
    with noting_errors(warnings):
        _draw_samples(books, parts.run_dir, sheet)
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": "INVALID" if problems else "VALID",
        **({"error": problems[0]} if problems else {}),
        "run_dir": str(parts.run_dir),
        "limit_s": settings.limit_s,
        "elapsed_s": result.elapsed_s(settings.clock),
        "elapsed_by_clock_s": {name: result.elapsed_s(name) for name in ("process", "generation")},
        "spent_s": result.spent_s,
        "stopped_by": result.stopped_by,
        "late_s": result.late_s,
        "phases_s": parts.timer.totals_s(),
        "problems": problems,
        "warnings": warnings,
        "datasets": datasets,
        "samples": str(sheet) if sheet.exists() else None,
        "notes": parts.notes,
        "settings": asdict(settings),
        "preset_changes": changes_of_preset(settings),
        "clock": {"source": clock.source, "zero": clock.zero},
        "generator": asdict(result.generator) if result.generator else None,
        "prompts": {
            spec.name: {
                "path": str(book.path),
                "sha256": book.sha256,
                "preset": book.preset,
                "per_class": parts.state.prompts_per_class,
            }
            for spec, book in books.items()
        },
        "machine": describe_machine(parts.device),
    }


def _dataset_record(
    settings: GenerateSettings, book: PromptBook, done: DatasetResult, timer: PhaseTimer
) -> dict[str, Any]:
    """One data set: counts, seconds, and what ``check`` says of its file."""
    report = check_submission(done.file.path)
    problems, warnings = list(report.problems), list(report.warnings)
    with noting_errors(warnings):
        write_sidecar(done.file.path, book, settings.label_order, done.file.sha256)
    if done.late_s > 0:
        problems.insert(0, f"{done.dataset}: {done.late_s:.2f} s late; the file does not count")
    if done.fault is not None:
        warnings.append(f"{done.dataset}: {done.fault}")
    elif settings.ipc != "auto" and done.generated_per_class < settings.ipc:
        warnings.append(
            f"{done.dataset}: {done.generated_per_class} of {settings.ipc} distinct images a class "
            f"were made before the end ({done.why_stopped}); the file holds {done.file.ipc} a class"
        )
    return {
        "path": str(done.file.path),
        "images": done.file.images,
        "ipc": done.file.ipc,
        "bytes": done.file.bytes,
        "sha256": done.file.sha256,
        "mean": report.mean,
        "std": report.std,
        "generated": done.generated,
        "generated_per_class": done.generated_per_class,
        "rejected": done.rejected,
        "images_per_s": done.images_per_s,
        "batch_size": done.batch_size,
        "why_stopped": done.why_stopped,
        "framing": done.framing,
        "colour": done.colour,
        "choices": [asdict(choice) | {"taken": choice.taken} for choice in done.choices],
        "elapsed_s": done.end_s - done.start_s,
        "late_s": done.late_s,
        "phases_s": timer.totals_s(done.dataset),
        "problems": problems,
        "warnings": warnings,
    }


def _draw_samples(books: Mapping[DatasetSpec, PromptBook], run_dir: Path, sheet: Path) -> None:
    """Draw distinct images of the run, a row a class, the classes evenly spread."""
    rows = []
    for spec, book in books.items():
        path = run_dir / f"{spec.name}.journal"
        if not path.exists():
            continue
        journal = Journal.open(path)
        for index in range(0, spec.num_classes, spec.num_classes * len(books) // SHEET_ROWS):
            images = journal.read(index)[:SHEET_COLUMNS]
            if len(images):
                rows.append((book.classes[index].name, images))
    if rows:
        contact_sheet(rows).save(sheet)
