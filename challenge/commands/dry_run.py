"""``generate --dry-run``: try it all before the ten minutes count; READY or NOT READY, and why.

    python run_challenge.py generate --dry-run --model tiny --dataset all --limit-s 60
    python run_challenge.py generate --dry-run --model sdxl-turbo --device cuda --json

The trial is the run itself, in its own folder, cut off after a few seconds of each data set: the
same loading, encoding, batches, journal and packing. Nothing stays behind but the costs, which the
next run plans with.
"""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from challenge.budget import PhaseTimer
from challenge.clock import RunClock
from challenge.commands.dry_run_report import Report, report_document, show_report
from challenge.commands.session import (
    Books,
    Session,
    default_run_dir,
    load_books,
    open_calibration,
    open_run,
    require_model,
    weights_of,
)
from challenge.console import TITLES, RunView, write_document
from challenge.environment import device_title
from challenge.errors import BudgetError
from challenge.events import BatchFinished, DatasetStarted, Event, Notice, PhaseStarted
from challenge.forecast import MeasuredCosts
from challenge.guard.handle import NoGuard
from challenge.plan import UNTIMED, make_plan
from challenge.planner import CostWatch
from challenge.readiness import (
    GIB,
    DiskSpeed,
    available_memory_bytes,
    busy_device,
    busy_machine,
    lacking_memory,
    limited_by_disk,
    measure_disk,
)
from challenge.records import noting_errors, run_folder
from challenge.settings import GenerateSettings
from challenge.stop import StopNow, StopRequest, finish_on_signals

if TYPE_CHECKING:
    import torch

    from challenge.generators.base import ImageGenerator
    from challenge.run_parts import RunParts

TRIAL_BYTES = GIB  # written to the disk, if it fits
TRIAL_S = 5.0  # of batches, for each data set: enough for the batch size to settle on a GPU


class _TrialOver(BaseException):
    """Enough was seen of a data set. No ``Exception``, so that nothing takes it for a fault."""


def dry_run(settings: GenerateSettings, clock: RunClock) -> int:
    """Run the command; returns the exit code, 0 for READY and 1 for NOT READY."""
    with ExitStack() as stack:
        trial = _DryRun(settings, clock, stack.enter_context(RunView(clock)))
        stack.enter_context(finish_on_signals(trial.stop))
        with noting_errors(trial.report.problems):
            trial.examine()
    report = trial.report
    if settings.json:
        write_document(report_document(report))
    else:
        show_report(report)
    return 0 if report.verdict == "READY" else 1


class _DryRun:
    """One dry run: the checks in order, each finding put into ``report``."""

    def __init__(self, settings: GenerateSettings, clock: RunClock, view: RunView) -> None:
        self._settings, self._clock, self._view = settings, clock, view
        self._timer = PhaseTimer(clock, "start_up")
        self._watch = CostWatch(self._timer)
        self._told: set[Event] = set()
        self.stop = StopRequest()
        self.report = Report()

    def examine(self) -> None:
        """Do all checks; raises ``ChallengeError`` for one without which the rest makes no sense.

        What costs little comes first, and all of that is told before anything is loaded.
        """
        report, settings = self.report, self._settings
        if text := busy_machine(os.getloadavg()[0], os.cpu_count() or 1):
            report.warnings.append(text)
        books: Books = {}
        with noting_errors(report.problems):
            books = load_books(settings)
        with noting_errors(report.problems):
            require_model(settings)
        with borrowed_run_dir(settings.out or default_run_dir(settings)) as folder:
            disk = self._try_disk(folder)
            if not report.problems:
                self._plan(books, folder, disk)

    def _try_disk(self, folder: Path) -> DiskSpeed:
        self._timer.begin(UNTIMED)  # no part of what a run spends
        self._view.show(Notice("writing to the disk of the run folder"))
        disk = measure_disk(folder, self._clock, TRIAL_BYTES)
        self.report.checks["disk"] = asdict(disk) | {"mb_per_s": disk.mb_per_s}
        return disk

    def _plan(self, books: Books, folder: Path, disk: DiskSpeed) -> None:
        """Load, make images, remember the costs, and plan with them."""
        settings, report = self._settings, self.report
        session = Session(
            settings, folder, self._clock, self._timer, self._see, self.stop, NoGuard()
        )
        parts, dtype, load = open_run(session)
        self._examine_device(parts.device, dtype)
        if report.problems:
            return
        tried, shortage = self._try_out(books, parts, load)
        self._note_peak_memory(parts.device)
        costs = tried = limited_by_disk(tried, settings.specs, disk)
        memory = open_calibration(settings, parts, dtype)
        if memory.notice:
            report.warnings.append(memory.notice)
        with noting_errors(report.warnings):
            costs = memory.save("dry run", costs).costs
            report.calibration = str(memory.path)
        basis = "measured by this dry run"
        if costs != tried:
            basis += "; images and files by a longer run before it"
        report.plan = make_plan(settings, costs, dtype, disk.free_bytes, measured=True, basis=basis)
        report.problems += report.plan.problems or ([str(shortage)] if shortage else [])

    def _examine_device(self, device: "torch.device", dtype: str) -> None:
        """Memory of the machine and of a GPU, against what the weights take."""
        report = self.report
        report.checks["device"] = {"name": device_title(device), "dtype": dtype}
        available = available_memory_bytes()
        report.checks["memory"] = {"available_bytes": available}
        rooms = [("this machine", available)]
        if device.type == "cuda":
            import torch

            free, total = torch.cuda.mem_get_info(device)
            report.checks["device"] |= {"free_bytes": free, "total_bytes": total}
            rooms.append((str(device), free))
            if text := busy_device(total - free, total, str(device)):
                report.warnings.append(text)
        needed = weights_bytes(self._settings, dtype)
        report.checks["weights"] = {"bytes": needed}
        texts = [lacking_memory(needed, amount, where) for where, amount in rooms]
        report.problems += [text for text in texts if text is not None]

    def _note_peak_memory(self, device: "torch.device") -> None:
        checks = self.report.checks
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux: getrusage(2)
        checks["memory"]["peak_bytes"] = peak_kib * 1024
        if device.type == "cuda":
            import torch

            checks["device"]["peak_bytes"] = torch.cuda.max_memory_reserved(device)

    def _try_out(
        self, books: Books, parts: "RunParts", load: Callable[[], "ImageGenerator"]
    ) -> tuple[MeasuredCosts, BudgetError | None]:
        """Run each data set for a few seconds; the model is loaded once. Gives back what that cost.

        A lack of time or room ends a data set early and is given back too, since the plan tells it
        better. Any other fault is raised, and so is a lack that left nothing to plan with.
        """
        from challenge.run_state import RunState
        from challenge.runner import run_generate

        load_once, shortage = cache(load), None
        trial = replace(self._settings, clock="generation", limit_covers="each")
        waiting = dict(books)
        while waiting:
            current = next(iter(waiting))
            run_dir = parts.run_dir / current.name
            run_dir.mkdir()
            with suppress(_TrialOver):
                its_parts = replace(parts, run_dir=run_dir, state=RunState(run_dir))
                error = run_generate(trial, waiting, load_once, its_parts).error
                if isinstance(error, BudgetError):
                    shortage = shortage or error
                elif error is not None:
                    raise error
            self._stop_if_asked()
            self._timer.begin(UNTIMED)
            seen = {spec for spec in waiting if self._watch.generating_s(spec.name) > 0}
            waiting = {s: book for s, book in waiting.items() if s not in seen | {current}}
        costs = self._watch.costs([spec.name for spec in books])
        if costs is None:
            assert shortage is not None  # nothing else ends a trial before its first image
            raise shortage
        return costs, shortage

    def _see(self, event: Event) -> None:
        """Show what a dry run has to say of an event, and end the trial when enough was seen."""
        self._stop_if_asked()
        self._watch.see(event)
        if isinstance(event, Notice | PhaseStarted) and event not in self._told:
            self._told.add(event)
            self._view.show(event)
        if isinstance(event, DatasetStarted):
            self._view.show(Notice(f"trying {TITLES[event.dataset]} for a few seconds"))
        if isinstance(event, BatchFinished) and self._watch.generating_s(event.dataset) >= TRIAL_S:
            raise _TrialOver

    def _stop_if_asked(self) -> None:
        """There is nothing to finish, so the first signal ends a dry run."""
        if self.stop.signal_name is not None:
            raise StopNow(signal.Signals[self.stop.signal_name])


def weights_bytes(settings: GenerateSettings, dtype: str) -> int:
    """Memory that the weights take once loaded; the embedded model's do not count."""
    weights = weights_of(settings)
    return 0 if weights is None else weights.loaded_bytes(dtype)


@contextmanager
def borrowed_run_dir(path: Path) -> Iterator[Path]:
    """A folder in the one that a run would make, with the run's own checks of that.

    Afterwards all is as it was.
    """
    with run_folder(path, resume=False), TemporaryDirectory(dir=path) as folder:
        yield Path(folder)
