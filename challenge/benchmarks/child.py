"""Runs this program again in a process of its own, and reads the document that it prints."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import challenge
from challenge.errors import ChallengeError
from challenge.settings import BenchmarkSettings

START = "import sys; from challenge.cli import main; sys.exit(main())"


def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    """The process; its own progress lines are not kept."""
    package_root = str(Path(challenge.__file__).resolve().parent.parent)
    search_path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": search_path},
    )


def finish(process: subprocess.Popen[str], timeout_s: float | None = None) -> dict[str, Any]:
    """Its document.

    Raises ``ChallengeError`` when it printed none, or did not end in time: then it is killed.
    """
    try:
        out, errors = process.communicate(timeout=timeout_s)
    except BaseException as error:
        process.kill()
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise ChallengeError(f"it had not ended after {timeout_s:.0f} s") from error
        raise
    lines = out.splitlines()
    if not lines or not lines[-1].startswith("{"):
        last = (errors.strip() or f"exit code {process.returncode}").splitlines()[-1]
        raise ChallengeError(f"it printed no result: {last}")
    document: dict[str, Any] = json.loads(lines[-1])
    return document


def benchmark_arguments(settings: BenchmarkSettings) -> list[str]:
    """The command line that these settings come from; what has its default is left away."""
    arguments = ["benchmark"]
    for each in fields(settings):
        value, flag = getattr(settings, each.name), "--" + each.name.replace("_", "-")
        if value == each.default:
            continue
        if value is True:
            arguments.append(flag)
        elif isinstance(value, Iterable) and not isinstance(value, str):
            arguments += [flag, *map(str, value)]
        else:
            arguments += [flag, str(value)]
    return arguments
