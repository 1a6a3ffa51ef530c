"""Trains the embedded model from the public training images, in one command.

    python -m challenge.embedded_training --data data --out submissions/embedded
    python -m challenge.embedded_training --data data --out submissions/embedded  # killed? goes on
    python -m challenge.embedded_training --data data --out submissions/embedded --export-now

``OUT/model/`` is then what lies in ``challenge/generators/tiny_model/``; ``log.jsonl`` is the
learning curve, ``samples_*.png`` show every class. No test set is read.
"""

import sys
import time
from collections.abc import Sequence

import tyro

from challenge.embedded_training.settings import TrainingSettings
from challenge.environment import let_waiting_threads_sleep
from challenge.errors import ChallengeError
from challenge.streams import own_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all stages and write the model; returns the exit code."""
    let_waiting_threads_sleep()
    with own_streams():
        return _exit_code(arguments)


def _exit_code(arguments: Sequence[str] | None) -> int:
    """Parse and run; what is wrong is said and becomes an exit code."""
    try:
        _run(
            tyro.cli(
                TrainingSettings,
                args=arguments,
                prog="python -m challenge.embedded_training",
                config=(tyro.conf.FlagCreatePairsOff,),
            )
        )
    except ChallengeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command line goes on from the last checkpoint\n")
        return 130
    return 0


def _run(settings: TrainingSettings) -> None:
    """Import torch only now, so that ``--help`` answers at once."""
    sys.stderr.write(f"reading the training images in {settings.data}\n")
    from challenge.embedded_training.export import export_model
    from challenge.embedded_training.samples import write_samples
    from challenge.embedded_training.stages import TrainingRun
    from challenge.environment import resolve_device
    from challenge.generators.parts import quiet_libraries
    from challenge.records import explaining_os_errors

    run = TrainingRun.open(settings, resolve_device(settings.device), time.monotonic)
    with explaining_os_errors(settings.out), quiet_libraries():
        model = run.train()
        export_model(model, settings, settings.out / "model")
        for book in run.books:
            write_samples(model.pipe, book, settings.out / f"samples_{book.dataset}.png")


if __name__ == "__main__":
    sys.exit(main())
