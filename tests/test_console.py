import io

import pytest
from conftest import FakeClock
from rich.console import Console

from challenge.console import RunView, StepView, duration, make_table, verdict_panel
from challenge.events import (
    BatchFinished,
    DatasetFinished,
    DatasetStarted,
    FileWritten,
    Notice,
    PhaseStarted,
    PlanMade,
    RunPlanned,
    TrialBatch,
    TrialFile,
)
from challenge.forecast import DatasetPlan
from challenge.plan import RunPlan

PLAN = RunPlanned(
    "tiny", ("cifar100", "tinyimagenet"), 600.0, "each", "process", 1200.0, "auto", "upright", "out"
)
STARTED = DatasetStarted("cifar100", 100, 0.0, 600.0, None)
FINISHED = DatasetFinished(
    "cifar100", "out/cifar100.pt", 40, 4000, 590.0, "no time for another batch"
)


def batch(made: int) -> BatchFinished:
    return BatchFinished("cifar100", 8, 0.1, 0, made, made // 100, 50, 80.0)


def screen(width: int, *, terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_plan_says_when_it_will_be_over_at_the_latest(clock: FakeClock) -> None:
    console = screen(80, terminal=False)
    clock.advance(2.0)
    RunView(clock, console).show(PLAN)
    text = text_of(console)
    assert "CIFAR-100 and Tiny-ImageNet with model tiny" in text
    assert "600 s for each set" in text
    assert "1198 s from now" in text
    assert "Ctrl-C ends early with a valid file" in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_plan_is_a_few_lines_and_its_problems_are_warnings(
    clock: FakeClock, width: int
) -> None:
    console = screen(width, terminal=False)
    planned = DatasetPlan("cifar100", {"generate": 40.0}, 5.0, 4300, 107.5, 43, 1, 1)
    problem = "CIFAR-100 has 12.0 s and needs 13.2 s; raise --limit-s"
    plan = RunPlan(False, "a test", {"load": 6.0}, (planned,), (), (problem,))
    RunView(clock, console).show(PlanMade(plan))
    lines = text_of(console).splitlines()
    assert len(lines) == 5
    assert "a guess: 6.0 s before the first image" in lines[0]
    assert "about 4,300 images" in lines[1]
    assert lines[-1].endswith(f"warning: {problem}")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_on_a_terminal_long_lines_break_between_words_and_stay_right_of_the_time(
    clock: FakeClock, width: int
) -> None:
    console = screen(width, terminal=True)
    text = "a warning of more words than go on one line of a terminal that is eighty columns wide"
    RunView(clock, console).show(Notice(text))
    first, *others = text_of(console).splitlines()
    assert first.startswith("    0.0 s  a warning")
    assert all(line.startswith(" " * 11) for line in others)
    words = " ".join(line[11:].strip() for line in (first, *others))
    assert words == text
    assert len(others) == (0 if width == 200 else 1)


def test_what_only_tells_costs_is_not_shown(clock: FakeClock) -> None:
    console = screen(80, terminal=False)
    RunView(clock, console).show(TrialBatch("cifar100", 1, 0.1))
    RunView(clock, console).show(TrialFile("cifar100", 100, 0.1, {}))
    assert text_of(console) == ""


def test_in_a_log_file_progress_is_a_few_lines_and_not_one_a_batch(clock: FakeClock) -> None:
    console = screen(80, terminal=False)
    with RunView(clock, console) as view:
        view.show(STARTED)
        for made in range(8, 808, 8):
            clock.advance(1.0)
            view.show(batch(made))
    progress = [line for line in text_of(console).splitlines() if "projected" in line]
    assert 3 <= len(progress) <= 5
    assert "50 projected" in progress[-1]
    assert " s left" in progress[-1]


def test_each_event_is_shown_in_a_log_file(clock: FakeClock) -> None:
    console = screen(80, terminal=False)
    with RunView(clock, console) as view:
        for event in (
            PhaseStarted("load"),
            Notice("mind this", "warning"),
            STARTED,
            batch(100),
            FileWritten("cifar100", 1, 100, 0.2, final=False),
            FINISHED,
        ):
            view.show(event)
    text = text_of(console)
    for expected in (
        "loading the model",
        "warning: mind this",
        "a valid file stands",
        "done in 590.0 s, 4,000 images, 40 a class in the file; no time for another batch",
    ):
        assert expected in text


@pytest.mark.parametrize("width", [80, 200])
def test_on_a_terminal_there_is_a_bar_with_the_time_left(clock: FakeClock, width: int) -> None:
    console = screen(width, terminal=True)
    with RunView(clock, console) as view:
        view.show(STARTED)
        clock.advance(75.0)
        view.show(batch(800))
    text = text_of(console)
    assert "8:45 left" in text
    assert "800 images, 80/s, 8 a class, 50 projected" in text
    assert max(len(line) for line in text.splitlines()) < 4 * width


def test_steps_are_shown_now_and_then_in_a_log_file(clock: FakeClock) -> None:
    console = screen(80, terminal=False)
    with StepView(clock, console) as view:
        for step in range(1, 101):
            clock.advance(1.0)
            view.show("round 1", step, 100)
    lines = text_of(console).splitlines()
    assert len(lines) == 9
    assert lines[-1] == "round 1: step 91 of 100"


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.4, "3 s"), (119, "119 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations_are_told_in_the_unit_a_person_would_use(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_panel_names_the_verdict_and_the_facts() -> None:
    console = screen(100, terminal=False)
    table = make_table(("", "images"), [("CIFAR-100", "1,000")])
    console.print(verdict_panel("INVALID", ["cifar100: 0.10 s late"], table))
    text = text_of(console)
    assert "INVALID" in text
    assert "0.10 s late" in text
    assert "1,000" in text
