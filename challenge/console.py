"""The screen: what will be done, progress until the limit, tables, and the VALID or INVALID panel.

Progress goes to stderr, results to stdout. Where stderr is no terminal, progress is plain lines, a
few a minute.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from challenge.budget import Clock
from challenge.events import (
    BatchFinished,
    DatasetFinished,
    DatasetStarted,
    Event,
    FileWritten,
    Notice,
    PhaseStarted,
    PlanMade,
    RunPlanned,
)
from challenge.plan_text import plan_lines, rate
from challenge.spec import DATASETS

PHASE_TITLES = {
    "load": "loading the model",
    "encode": "encoding the prompts",
    "fit": "choosing the decoder",
    "warm_up": "warming up and measuring",
    "quantize": "quantizing the UNet",
    "compile": "compiling the UNet's blocks",
}
LOG_WIDTH = 140  # columns where stdout is no terminal
LINE_EVERY_S = 10.0  # where progress is plain lines
TITLES: dict[str, str] = {name: spec.title for name, spec in DATASETS.items()}
GOOD = ("VALID", "READY")


def results() -> Console:
    """The console for results: stdout. A log file is given room, so that no path is broken."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)


def show_error(message: str) -> None:
    """One line on stderr, never wrapped, so that it can be searched for and copied."""
    sys.stderr.write(f"error: {message}\n")


def show_note(message: str) -> None:
    """One line on stderr that is no error."""
    sys.stderr.write(f"{message}\n")


def write_document(document: Mapping[str, Any]) -> None:
    """A JSON document as one line on stdout, without wrapping or colour."""
    sys.stdout.write(json.dumps(document, default=str) + "\n")
    sys.stdout.flush()


class _DeadlineBar(BarColumn):
    """A bar of the time used, moved by the clock and not by the batches."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(bar_width=None)
        self._clock = clock

    def render(self, task: Task) -> ProgressBar:
        """The share of the data set's time that is over."""
        start_s, end_s = task.fields["start_s"], task.fields["deadline_s"]
        used_s = task.fields.get("done_s", min(self._clock(), end_s) - start_s)
        return ProgressBar(total=end_s - start_s, completed=used_s, width=self.bar_width)


class _TimeLeft(TextColumn):
    """Seconds until the data set's deadline."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("")
        self._clock = clock

    def render(self, task: Task) -> Text:
        """Minutes and seconds left, or how long the data set took."""
        done_s = task.fields.get("done_s")
        if done_s is not None:
            return Text(f"done in {done_s:.1f} s")
        left_s = max(0.0, task.fields["deadline_s"] - self._clock())
        return Text(f"{int(left_s) // 60}:{int(left_s) % 60:02d} left", style="cyan")


class _ProgressView:
    """Bars on stderr where it is a terminal; use as a context manager around the work."""

    def __init__(self, clock: Clock, console: Console | None, *columns: ProgressColumn) -> None:
        self._clock = clock
        self._console = console or Console(stderr=True, highlight=False)
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            *columns,
            console=self._console,
            get_time=clock,
            disable=not self._live,
        )

    def __enter__(self) -> Self:
        """Start the live display where there is a terminal."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back."""
        self._progress.stop()


class RunView(_ProgressView):
    """Shows a run's events to a person."""

    def __init__(self, clock: Clock, console: Console | None = None) -> None:
        state = TextColumn("{task.fields[state]}")
        super().__init__(clock, console, _DeadlineBar(clock), _TimeLeft(clock), state)
        self._tasks: dict[str, TaskID] = {}
        self._deadlines: dict[str, DatasetStarted] = {}
        self._next_line_s = 0.0
        self._handlers: dict[type, Callable[..., None]] = {
            RunPlanned: self._planned,
            Notice: self._notice,
            PhaseStarted: self._phase,
            PlanMade: self._plan_made,
            DatasetStarted: self._dataset_started,
            BatchFinished: self._batch,
            FileWritten: self._file_written,
            DatasetFinished: self._dataset_finished,
        }

    def show(self, event: Event) -> None:
        """Show one event; those that only tell costs have nothing to show."""
        if handler := self._handlers.get(type(event)):
            handler(event)

    def _say(self, text: str, style: str = "") -> None:
        stamp = Text(f"{self._clock():7.1f} s  ", style="dim")
        if not self._live:  # a log line stays one line, so that it can be searched for
            self._console.print(stamp.append(Text(text, style=style)), soft_wrap=True)
            return
        line = Table.grid()
        line.add_column(no_wrap=True)
        line.add_column(overflow="fold")
        line.add_row(stamp, Text(text, style=style))
        self._console.print(line)

    def _planned(self, event: RunPlanned) -> None:
        sets = " and ".join(TITLES[name] for name in event.datasets)
        share = (
            ""
            if len(event.datasets) == 1
            else (" for each set" if event.limit_covers == "each" else " in all")
        )
        self._say(f"making a training set for {sets} with model {event.model}", "bold")
        if event.latest_end_s is None:
            self._say(f"takes {event.limit_s:g} s{share} after loading and warm-up")
        else:
            left_s = event.latest_end_s - self._clock()
            ends = (datetime.now().astimezone() + timedelta(seconds=left_s)).strftime("%H:%M:%S")
            self._say(
                f"takes {event.limit_s:g} s{share}: finished by {ends} at the latest, "
                f"{left_s:.0f} s from now"
            )
        images = (
            "as many images a class as fit"
            if event.ipc == "auto"
            else f"{event.ipc} images a class"
        )
        self._say(f"{images}, augmentation {event.augment}; Ctrl-C ends early with a valid file")
        self._say(f"run folder {event.run_dir}")

    def _notice(self, event: Notice) -> None:
        self._say(
            f"{'warning: ' if event.level == 'warning' else ''}{event.text}",
            "yellow" if event.level == "warning" else "",
        )

    def _phase(self, event: PhaseStarted) -> None:
        self._say(PHASE_TITLES.get(event.phase, event.phase))

    def _plan_made(self, event: PlanMade) -> None:
        for line in plan_lines(event.plan):
            self._say(line)
        for problem in event.plan.problems:
            self._say(f"warning: {problem}", "yellow")

    def _dataset_started(self, event: DatasetStarted) -> None:
        self._deadlines[event.dataset] = event
        self._next_line_s = self._clock()
        self._tasks[event.dataset] = self._progress.add_task(
            TITLES[event.dataset],
            start_s=event.start_s,
            deadline_s=event.deadline_s,
            state="first batch",
        )
        if not self._live:
            left_s = event.deadline_s - self._clock()
            self._say(f"{TITLES[event.dataset]}: generating, {left_s:.1f} s left")

    def _batch(self, event: BatchFinished) -> None:
        state = f"{event.made:,} images, {rate(event.images_per_s)}/s, {event.ipc} a class"
        if event.projected_ipc is not None:  # in the file, variants included
            state += f", {event.projected_ipc} projected"
        self._progress.update(self._tasks[event.dataset], state=state)
        if not self._live and self._clock() >= self._next_line_s:
            times = self._deadlines[event.dataset]
            self._next_line_s = self._clock() + max(2.0, (times.deadline_s - times.start_s) / 20)
            left_s = times.deadline_s - self._clock()
            self._say(f"{TITLES[event.dataset]}: {state}, {left_s:.1f} s left")

    def _file_written(self, event: FileWritten) -> None:
        if not self._live:
            kind = "submission written" if event.final else "a valid file stands"
            count = f"{event.ipc} images a class"
            self._say(f"{TITLES[event.dataset]}: {kind}, {count}, in {event.seconds:.2f} s")

    def _dataset_finished(self, event: DatasetFinished) -> None:
        state = f"{event.generated:,} images, {event.ipc} a class in the file"
        self._progress.update(self._tasks[event.dataset], state=state, done_s=event.elapsed_s)
        if not self._live:
            text = f"done in {event.elapsed_s:.1f} s, {state}; {event.why}"
            self._say(f"{TITLES[event.dataset]}: {text}")


def verdict_panel(verdict: str, lines: Sequence[str], table: Table | None = None) -> Panel:
    """The panel that ends a command: green VALID or READY, else red; facts below."""
    colour = "green" if verdict in GOOD else "red"
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row(Text(line, overflow="fold"))
    if table is not None:
        grid.add_row(table)
    return Panel(
        grid, title=Text(verdict, style=f"bold {colour}"), border_style=colour, expand=False
    )


def make_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: Sequence[int] = (0,)
) -> Table:
    """A plain table: ``text_columns`` are set to the left, the others hold numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(
            heading, justify="left" if index in text_columns else "right", overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    return table


class StepView(_ProgressView):
    """Shows how far a long job of equal steps is; plain lines where there is no terminal."""

    def __init__(self, clock: Clock, console: Console | None = None) -> None:
        bar = BarColumn(bar_width=None)
        super().__init__(clock, console, bar, TaskProgressColumn(), TimeRemainingColumn())
        self._tasks: dict[str, TaskID] = {}
        self._next_line_s = 0.0

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(Text(text), soft_wrap=True)

    def show(self, title: str, step: int, steps: int) -> None:
        """Step ``step`` of ``steps`` of the job ``title`` is done."""
        if title not in self._tasks:
            self._tasks[title] = self._progress.add_task(title, total=steps)
            self._next_line_s = self._clock() + LINE_EVERY_S
        self._progress.update(self._tasks[title], completed=step)
        if not self._live and self._clock() >= self._next_line_s:
            self._next_line_s = self._clock() + LINE_EVERY_S
            self.say(f"{title}: step {step} of {steps}")


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would use."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
