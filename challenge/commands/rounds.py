"""``generate --rounds N``: as many sets, each a run of its own with its own seed and limit.

The challenge trains a network on a fresh set in each of its rounds (runner-up's evaluate.py).

    python run_challenge.py generate --model tiny --rounds 3 --limit-s 60
    python run_challenge.py evaluate submissions/NAME
"""

from dataclasses import replace
from typing import Any

from challenge.clock import RunClock, clock_since_now
from challenge.commands.generate import exit_code, result_document, run_once, show_result
from challenge.commands.session import default_run_dir
from challenge.console import show_note, write_document
from challenge.records import SCHEMA_VERSION, run_folder
from challenge.settings import GenerateSettings


def generate_rounds(settings: GenerateSettings, clock: RunClock) -> int:
    """Make the rounds one after the other; returns 0 when all that were made are VALID.

    The first round's limit runs from the start of the process, a later one's from the end of the
    round before; the model is loaded again, within each limit. Round r is seeded ``seed + r - 1``.
    A stop signal ends the round it meets in order, and no other is begun.
    """
    folder = settings.out or default_run_dir(settings)
    documents: list[dict[str, Any]] = []
    with run_folder(folder, resume=False):
        for number in range(1, settings.rounds + 1):
            round_settings = replace(
                settings,
                rounds=1,
                seed=settings.seed + number - 1,
                out=folder / f"round-{number}",
            )
            show_note(f"round {number} of {settings.rounds}, seed {round_settings.seed}")
            record = run_once(round_settings, clock if number == 1 else clock_since_now())
            documents.append(result_document(record))
            if not settings.json:
                show_result(record)
            if record["stopped_by"]:
                break
    worst = max(documents, key=exit_code)
    if settings.json:
        write_document(
            {
                "schema_version": SCHEMA_VERSION,
                "verdict": worst["verdict"],
                **({"error": worst["error"]} if "error" in worst else {}),
                "run_dir": str(folder),
                "stopped_by": documents[-1]["stopped_by"],
                "rounds": documents,
            }
        )
    return exit_code(worst)
