"""Training of a UNet whose weights are averaged by a power of the step."""

import copy
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from challenge.embedded_training.master_weights import MasterWeights
from challenge.embedded_training.resumable import Resumable

AVERAGE_POWER = 4
"""The first t of n steps make up (t / n) ** 4 of the average, so it looks far back."""


class AveragedTraining(Resumable):
    """A copy of a UNet under training, its average, and the way to save and restore both."""

    def __init__(
        self, unet: UNet2DConditionModel, learning_rate: float, seed: int, device: torch.device
    ) -> None:
        trained: UNet2DConditionModel = copy.deepcopy(unet).to(device).requires_grad_(True)
        trained.set_attn_processor(AttnProcessor())  # torch's own is slow backwards on a CPU
        self._weights = MasterWeights(trained, learning_rate)
        self.average: UNet2DConditionModel = copy.deepcopy(trained).eval().requires_grad_(False)
        self._rng = torch.Generator().manual_seed(seed)
        self.steps_done = 0

    @torch.no_grad()
    def _use_gradients(self, factor: float) -> float:
        """End a step at ``factor`` times the learning rate; returns the norm of the gradients."""
        norm = self._weights.step(factor)
        self.steps_done += 1
        keep = (1 - 1 / self.steps_done) ** AVERAGE_POWER
        for average, master in zip(
            self.average.parameters(), self._weights.master.parameters(), strict=True
        ):
            average.lerp_(master, 1 - keep)
        return norm

    def state(self) -> dict[str, Any]:
        """All that is needed to go on as if nothing had happened."""
        return {
            **self._weights.state(),
            "average": self.average.state_dict(),
            "steps_done": self.steps_done,
            "rng": self._rng.get_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._weights.load_state(state)
        self.average.load_state_dict(state["average"])
        self.steps_done = state["steps_done"]
        self._rng.set_state(state["rng"])
