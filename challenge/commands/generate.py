"""The ``generate`` command: folder, clock, log and screen around the timed run, then its record.

python run_challenge.py generate --model tiny --dataset all --limit-s 60
python run_challenge.py generate --model sdxl-turbo --dataset cifar100 --device cuda --json
python run_challenge.py generate --resume submissions/NAME
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from challenge.budget import PhaseTimer
from challenge.clock import RunClock
from challenge.commands.session import (
    Books,
    Session,
    default_run_dir,
    load_books,
    open_calibration,
    open_run,
    require_model,
)
from challenge.console import (
    RunView,
    make_table,
    results,
    show_note,
    verdict_panel,
    write_document,
)
from challenge.environment import memory_in_use_gib
from challenge.errors import ChallengeError, JournalError
from challenge.events import Event, Notice, RunPlanned
from challenge.guard.handle import guarding
from challenge.plan import RunPlan, plan_vs_actual
from challenge.plan_text import RESULT_HEADINGS, result_phases, result_rows
from challenge.planner import Planner
from challenge.presets import changed_preset_text
from challenge.records import (
    SCHEMA_VERSION,
    EventLog,
    discard_records,
    explaining_os_errors,
    noting_errors,
    run_folder,
    write_json,
)
from challenge.resume import is_finished, read_record, require_same_settings, spent_seconds
from challenge.settings import GenerateSettings
from challenge.stop import StopRequest, finish_on_signals

if TYPE_CHECKING:
    from challenge.runner import RunResult


def generate(settings: GenerateSettings, clock: RunClock) -> int:
    """Run the command; returns the exit code, 0 for VALID and 1 for INVALID.

    Raises ``ChallengeError`` for a fault that came before the first image; it leaves nothing of a
    new run behind.
    """
    record = run_once(settings, clock)
    if settings.json:
        write_document(result_document(record))
    else:
        show_result(record)
    return exit_code(record)


def exit_code(record: Mapping[str, Any]) -> int:
    """0 for VALID, 1 for INVALID."""
    return 0 if record["verdict"] == "VALID" else 1


def run_once(settings: GenerateSettings, clock: RunClock) -> dict[str, Any]:
    """One run from its folder to its record; raises as ``generate`` does."""
    if settings.resume:
        require_same_settings(settings)
        if finished := _finished_record(settings.resume):
            return finished
    books = load_books(settings)
    require_model(settings)
    wanted_dir = settings.resume or settings.out or default_run_dir(settings)
    with run_folder(wanted_dir, resume=settings.resume is not None, tell=show_note) as run_dir:
        if settings.resume and (finished := _finished_record(run_dir)):
            return finished  # by the process that had the folder until now
        spent_s = _spent_before(run_dir) if settings.resume else 0.0
        clock = clock.continuing(spent_s) if spent_s else clock
        try:
            return _logged_run(settings, books, run_dir, clock, spent_s)
        except ChallengeError:
            if not settings.resume and not _made_images(run_dir):
                discard_records(run_dir)
            raise


def _finished_record(run_dir: Path) -> dict[str, Any] | None:
    """The record of a run that is finished, and says so; None where something is left to do."""
    record = read_record(run_dir)
    if not is_finished(record):
        return None
    show_note(f"{run_dir} is finished; nothing was made or changed")
    return record


def _spent_before(run_dir: Path) -> float:
    """Seconds that earlier processes of the run have spent; what they left half done is removed."""
    spent_s = spent_seconds(run_dir, read_record(run_dir))
    with explaining_os_errors(run_dir):
        for leftover in (*run_dir.glob(".*.partial"), *run_dir.glob(".warm-up-*")):
            leftover.unlink(missing_ok=True)
    return spent_s


def _logged_run(
    settings: GenerateSettings, books: Books, run_dir: Path, clock: RunClock, spent_s: float
) -> dict[str, Any]:
    """The run with its log, its screen, its guard and its signal handlers; returns the record."""
    stop = StopRequest()
    timer = PhaseTimer(clock, "start_up", spent_s)
    if spent_s:
        timer.add("", "earlier_processes", spent_s)
    with ExitStack() as stack:
        stack.enter_context(finish_on_signals(stop))
        with explaining_os_errors(run_dir):
            write_json(run_dir / "run.json", _start_record(settings), durable=True)
            log = stack.enter_context(
                closing(EventLog(run_dir / "events.jsonl", clock, memory_in_use_gib))
            )
            guard = stack.enter_context(guarding(run_dir, clock))
        view = stack.enter_context(RunView(clock))

        def emit(event: Event) -> None:
            log.write(event)
            view.show(event)

        emit(_plan(settings, run_dir))
        if text := changed_preset_text(settings):
            emit(Notice(text, "warning"))
        session = Session(settings, run_dir, clock, timer, emit, stop, guard, spent_s)
        record = _timed_run(session, books)
    if log.failure:
        record["warnings"].append(log.failure)
    with noting_errors(record["warnings"]):
        write_json(run_dir / "run.json", record)
    return record


def _start_record(settings: GenerateSettings) -> dict[str, Any]:
    """What stands in run.json until the run is over, also of a run that was killed."""
    return {"schema_version": SCHEMA_VERSION, "verdict": None, "settings": asdict(settings)}


def _made_images(run_dir: Path) -> bool:
    """Whether a journal holds any image, or cannot be read, so that it must not be deleted."""
    from challenge.journal import Journal

    try:
        return any(Journal.open(path).batches for path in run_dir.glob("*.journal"))
    except JournalError:
        return True


def _plan(settings: GenerateSettings, run_dir: Path) -> RunPlanned:
    """What will be done, before anything is loaded."""
    limits = len(settings.specs) if settings.limit_covers == "each" else 1
    return RunPlanned(
        model=settings.model,
        datasets=tuple(spec.name for spec in settings.specs),
        limit_s=settings.limit_s,
        limit_covers=settings.limit_covers,
        clock=settings.clock,
        latest_end_s=settings.limit_s * limits if settings.clock == "process" else None,
        ipc=settings.ipc,
        augment=settings.augment,
        run_dir=str(run_dir),
    )


def _timed_run(session: Session, books: Books) -> dict[str, Any]:
    """Run by a plan, gather the record, and remember what it all cost.

    A resumed run has neither: what is left of it is no run like others.
    """
    settings, timer = session.settings, session.timer
    parts, dtype, load = open_run(session)
    from challenge.run_record import run_record
    from challenge.runner import run_generate

    for name, entry in parts.state.datasets.items():
        for phase, seconds in entry.phases_s.items():  # of the data sets that are done
            timer.add(name, phase, seconds)
            timer.add("", "earlier_processes", -seconds)
    memory = open_calibration(settings, parts, dtype)
    planner = None
    if settings.resume is None:
        if memory.notice:
            session.emit(Notice(memory.notice, "warning"))
        free_bytes = shutil.disk_usage(session.run_dir).free
        planner = Planner(settings, dtype, free_bytes, timer, memory.found, session.emit)
        sizes = memory.found.batch_sizes() if memory.found else {}
        parts = replace(parts, emit=planner.emit, batch_sizes=sizes)
    result = run_generate(settings, books, load, parts)
    timer.begin("records")
    if result.error is not None and not _made_images(session.run_dir):
        raise result.error
    record = run_record(settings, books, result, parts, session.clock)
    _add_plan(record, planner.plan if planner else None)
    costs = planner.costs() if planner else None
    if costs is not None and _ended_by_itself(record, result):
        with noting_errors(record["warnings"]):
            memory.save("run", costs)
    return record


def _ended_by_itself(record: Mapping[str, Any], result: "RunResult") -> bool:
    """Whether the run came to its end without a fault, so that its costs are worth remembering."""
    faults = [done.fault for done in result.datasets if done.fault is not None]
    return record["verdict"] == "VALID" and not faults and result.stopped_by is None


def _add_plan(record: dict[str, Any], plan: RunPlan | None) -> None:
    """Put the plan, and what became of it, into the record; null where there was none."""
    record["plan"] = asdict(plan) if plan else None
    record["plan_vs_actual"] = (
        plan_vs_actual(plan, record["phases_s"], record["datasets"]) if plan else None
    )


def result_document(record: Mapping[str, Any]) -> dict[str, Any]:
    """What ``--json`` prints: the part of the record that programs ask for."""
    keys = (
        "schema_version",
        "verdict",
        "error",
        "run_dir",
        "limit_s",
        "elapsed_s",
        "stopped_by",
        "late_s",
        "phases_s",
    )
    per_dataset = (
        "path",
        "images",
        "ipc",
        "generated",
        "generated_per_class",
        "images_per_s",
        "phases_s",
    )
    document = {key: record[key] for key in keys if key in record}
    document["datasets"] = {
        name: {key: entry[key] for key in per_dataset} for name, entry in record["datasets"].items()
    }
    return document


def show_result(record: Mapping[str, Any]) -> None:
    """The panel that ends a run: verdict, where to look, and the seconds by phase."""
    lines = record["problems"] + [f"warning: {warning}" for warning in record["warnings"]]
    for entry in record["datasets"].values():
        lines.append(f"{entry['path']}: {entry['ipc']} images a class, {entry['images']:,} in all")
    if record["samples"]:
        lines.append(f"{record['samples']}: a look at the images")
    lines.append(f"{record['run_dir']}/run.json: settings, seconds, versions")
    lines += [f"seconds {phases}" for phases in result_phases(record)]
    table = make_table(RESULT_HEADINGS, result_rows(record))
    results().print(verdict_panel(record["verdict"], lines, table))
