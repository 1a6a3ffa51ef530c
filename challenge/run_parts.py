"""What the parts of a run share: its clock, its folder, its screen, its guard."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from challenge.budget import Clock, PhaseTimer
from challenge.events import Emit
from challenge.guard.handle import Guard
from challenge.run_state import RunState
from challenge.spec import DatasetName
from challenge.stop import StopRequest


@dataclass(frozen=True)
class RunParts:
    """What the data sets of a run share; ``batch_sizes`` are those that an earlier run found.

    ``notes`` goes into run.json as it is; in ``prepared_dir`` is what ``prepare`` left.
    """

    device: torch.device
    run_dir: Path
    run_seed: int
    clock: Clock
    timer: PhaseTimer
    emit: Emit
    stop: StopRequest
    guard: Guard
    state: RunState
    batch_sizes: Mapping[DatasetName, int] = field(default_factory=dict)
    notes: dict[str, object] = field(default_factory=dict)
    prepared_dir: Path | None = None

    @property
    def looks_ahead(self) -> bool:
        """Whether a batch is begun while the one before is under way: on a device that can."""
        return self.device.type == "cuda"
