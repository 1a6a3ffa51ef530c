"""Runs a training step by step and saves it now and then: a kill costs no more than the last steps.

On the CPU a training that was loaded goes on bit for bit as if it had never stopped.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from challenge.embedded_training.training_log import Clock, TrainingLog
from challenge.errors import OutputError
from challenge.tensor_file import LOAD_ERRORS


class Resumable(abc.ABC):
    """A training in steps, with all that it needs to go on in ``state``."""

    steps_done: int

    @abc.abstractmethod
    def step(self) -> dict[str, float]:
        """One step; returns what to log of it."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Tensors, numbers and texts: what ``torch.load`` reads with ``weights_only``."""

    @abc.abstractmethod
    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""


@dataclass(frozen=True)
class Checkpoints:
    """How trainings are saved and told."""

    save_every_s: float
    clock: Clock
    log: TrainingLog

    def run(
        self,
        training: Resumable,
        steps: int,
        path: Path,
        *,
        on_save: Callable[[], None] = lambda: None,
    ) -> None:
        """Run to the last step from wherever the checkpoint at ``path`` left off.

        Saves every so many seconds and after the last step.
        """
        load_checkpoint(training, path)
        saved_s = self.clock()
        while training.steps_done < steps:
            values = training.step()
            self.log.tell(training.steps_done, steps, **values)
            last = training.steps_done == steps
            if last or self.clock() - saved_s >= self.save_every_s:
                save_checkpoint(training.state(), path)
                on_save()
                saved_s = self.clock()


def load_checkpoint(training: Resumable, path: Path) -> None:
    """Go on from the checkpoint, if there is one."""
    if path.is_file():
        training.load_state(read_checkpoint(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What ``save_checkpoint`` wrote, on the CPU; ``OutputError`` when the file is damaged."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except LOAD_ERRORS as error:
        raise OutputError(
            f"{path} is damaged ({type(error).__name__}); delete it, and it is made anew"
        ) from error
    return state


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Replace the checkpoint at once, so that a kill leaves the old or the new one."""
    unfinished = path.with_suffix(".unfinished")
    torch.save(state, unfinished)
    unfinished.replace(path)
