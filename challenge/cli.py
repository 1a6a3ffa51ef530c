"""The command line: commands to functions, errors to exit codes.

torch is imported inside a command only, so that ``--help`` answers at once.

    python run_challenge.py generate --model tiny --dataset all --limit-s 60
    python run_challenge.py check submissions/NAME

Exit codes: 0 VALID or done, 1 INVALID, late or failed, 2 wrong usage, 130 or 143 after a second
Ctrl-C or SIGTERM.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from challenge.clock import RunClock, clock_since_now, clock_since_process_start
from challenge.environment import let_waiting_threads_sleep
from challenge.errors import ChallengeError
from challenge.presets import with_preset
from challenge.resume import recorded_settings
from challenge.settings import (
    BenchmarkSettings,
    CheckSettings,
    EvaluateSettings,
    GenerateSettings,
    InspectSettings,
    PackageSettings,
    PrepareSettings,
    PromptsSettings,
    ReportSettings,
)
from challenge.stop import StopNow
from challenge.streams import own_streams


@dataclass(frozen=True, kw_only=True)
class PromptsCommand(PromptsSettings):
    """Show what each class is asked for, or check an edited prompt book."""

    # Python has no field of this name
    name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Show this class alone, with its pool and the share of each text: name, label or wnid."""


Command = (
    Annotated[GenerateSettings, tyro.conf.subcommand("generate")]
    | Annotated[PrepareSettings, tyro.conf.subcommand("prepare")]
    | Annotated[CheckSettings, tyro.conf.subcommand("check")]
    | Annotated[EvaluateSettings, tyro.conf.subcommand("evaluate")]
    | Annotated[BenchmarkSettings, tyro.conf.subcommand("benchmark")]
    | Annotated[InspectSettings, tyro.conf.subcommand("inspect")]
    | Annotated[ReportSettings, tyro.conf.subcommand("report")]
    | Annotated[PackageSettings, tyro.conf.subcommand("package")]
    | Annotated[PromptsCommand, tyro.conf.subcommand("prompts")]
)
STYLE = (tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalRequiredArgs)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code.

    Without ``argv`` this is the process's own command line, and the clock counts from the start of
    the process; a call with ``argv`` counts from the call.
    """
    let_waiting_threads_sleep()
    clock = clock_since_process_start() if argv is None else clock_since_now()
    arguments = sys.argv[1:] if argv is None else list(argv)
    with own_streams() as streams:
        code = _exit_code(arguments, clock)
        if why := streams.lost_results():
            return _fail(ChallengeError(f"stdout could not take the results: {why}"))
        return code


def _exit_code(arguments: Sequence[str], clock: RunClock) -> int:
    """Parse and run; what is wrong is said and becomes an exit code."""
    try:
        settings = _parse(arguments)
        if isinstance(settings, GenerateSettings) and settings.resume:
            settings = _parse(arguments, defaults=recorded_settings(settings.resume))
        elif isinstance(settings, GenerateSettings) and settings.preset != "default":
            settings = _parse(arguments, defaults=with_preset(settings))
        return _run(settings, clock)
    except ChallengeError as error:
        return _fail(error, as_json="--json" in arguments)
    except StopNow as stop:
        return stop.exit_code
    except (
        KeyboardInterrupt
    ):  # before a run took the signals over, or in a command that has nothing to finish
        return 130
    except SystemExit as exit_:  # tyro: --help is 0, wrong usage 2
        return int(exit_.code or 0)


def _parse(arguments: Sequence[str], defaults: GenerateSettings | None = None) -> Command:
    """The command line as settings; what it leaves away is taken from ``defaults``, if given."""
    given: Command = tyro.cli(
        Command,
        prog="challenge" if Path(sys.argv[0]).name == "challenge" else "run_challenge.py",
        description="Timed generative dataset distillation: class labels in, training set out.",
        args=arguments,
        config=STYLE,
        default=tyro.MISSING_NONPROP if defaults is None else defaults,
    )
    return given


def _run(settings: Command, clock: RunClock) -> int:
    """Call the command that ``settings`` belongs to."""
    match settings:
        case GenerateSettings(dry_run=True):
            from challenge.commands.dry_run import dry_run

            return dry_run(settings, clock)
        case GenerateSettings(rounds=rounds) if rounds > 1:
            from challenge.commands.rounds import generate_rounds

            return generate_rounds(settings, clock)
        case GenerateSettings():
            from challenge.commands.generate import generate

            return generate(settings, clock)
        case PrepareSettings():
            from challenge.commands.prepare import prepare_command

            return prepare_command(settings)
        case CheckSettings():
            from challenge.commands.check import check

            return check(settings)
        case EvaluateSettings():
            from challenge.commands.evaluate import evaluate

            return evaluate(settings, clock)
        case BenchmarkSettings():
            from challenge.commands.benchmark import benchmark

            return benchmark(settings, clock)
        case InspectSettings():
            from challenge.commands.inspect import inspect

            return inspect(settings, clock)
        case ReportSettings():
            from challenge.commands.report import report

            return report(settings)
        case PromptsSettings():
            from challenge.commands.prompts import prompts

            return prompts(settings)
        case PackageSettings():
            from challenge.commands.package import package

            return package(settings)


def _fail(error: ChallengeError, *, as_json: bool = False) -> int:
    """Say in one line what is wrong, on stderr and, if asked, as a document on stdout."""
    from challenge.console import show_error, write_document

    show_error(str(error))
    if as_json:
        write_document({"schema_version": 1, "verdict": "INVALID", "error": str(error)})
    return error.exit_code
