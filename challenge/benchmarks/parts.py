"""Runs the parts of a long measurement in order of their worth, within a time that it keeps.

A part that no longer fits is left out and the reason stands in its place. One that fails, or takes
longer than it may, leaves its error, and the others go on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from challenge.budget import Clock
from challenge.errors import StalledError, first_line
from challenge.stop import interrupting_after

Entry = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One part: it is not begun with less than ``needs_s`` left, and may take ``most_s``.

    ``run`` is told how many seconds it has.
    """

    name: str
    needs_s: float
    most_s: float
    run: Callable[[float], Entry]


def run_parts(
    parts: Sequence[Part],
    clock: Clock,
    end_s: float,
    say: Callable[[str], None],
    keep: Callable[[dict[str, Entry]], None],
) -> dict[str, Entry]:
    """Run what fits before ``end_s``; ``keep`` is handed all entries after each part.

    An entry has ``seconds`` and either what the part found, or ``error``, or ``skipped``.
    """
    entries: dict[str, Entry] = {}
    for part in parts:
        left_s = end_s - clock()
        if left_s < part.needs_s:
            reason = f"it needs about {part.needs_s:.0f} s, and {max(0.0, left_s):.0f} s were left"
            entries[part.name] = {"seconds": 0.0, "skipped": reason}
            say(f"{part.name}: left out, {reason}")
        else:
            say(f"{part.name}: at most {min(left_s, part.most_s):.0f} s")
            entries[part.name] = _run(part, clock, min(left_s, part.most_s))
            if error := entries[part.name].get("error"):
                say(f"{part.name}: failed, {error}")
        keep(entries)
    return entries


def _run(part: Part, clock: Clock, seconds: float) -> Entry:
    started_s = clock()
    try:
        with interrupting_after(seconds):
            found = part.run(seconds)
    except StalledError:
        found = {"error": f"it had not ended after {seconds:.0f} s"}
    except torch.OutOfMemoryError:
        found = {"error": "out of memory"}
    except Exception as error:  # noqa: BLE001  # whatever it is, it must not cost the other parts
        found = {"error": first_line(error)}
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return {"seconds": clock() - started_s, **found}
