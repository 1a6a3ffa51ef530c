"""Whole runs on a clock that moves only when the fake model says so."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from conftest import FakeClock
from torch import Tensor

from challenge.budget import PhaseTimer
from challenge.events import Event, Notice
from challenge.generators.base import GeneratorDescription
from challenge.guard.handle import Guard, NoGuard
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.run_parts import RunParts
from challenge.run_state import RunState
from challenge.runner import RunResult, run_generate
from challenge.settings import GenerateSettings
from challenge.stop import StopRequest

Spoil = Callable[[Tensor, Sequence[int]], Tensor]


class TickingClock(FakeClock):
    """Each look at it costs five milliseconds, so that packing is not for nothing."""

    def __call__(self) -> float:
        self.advance(0.005)
        return self.now_s


class FakeGenerator:
    """Paints each image in one colour drawn from its seed, in ``image_s`` fake seconds."""

    def __init__(self, clock: FakeClock, image_s: float = 0.01, spoil: Spoil | None = None) -> None:
        self.description = GeneratorDescription("fake", "a test", None, "float32", "cpu")
        self.sizes: list[int] = []
        self.largest = 10**6
        self._clock, self._image_s, self._spoil = clock, image_s, spoil

    def image_size(self, target_size: int) -> int:
        return target_size

    def encode_prompts(self, prompts: Sequence[str]) -> None:
        self.encoded = list(prompts)

    def release_text_encoders(self) -> None:
        self.released = True

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], image_size: int) -> Tensor:
        if len(prompts) > self.largest:
            raise torch.OutOfMemoryError
        self.sizes.append(len(prompts))
        self._clock.advance(self._image_s * len(prompts))
        colours = torch.tensor([[seed % 251, seed % 241, 1 + seed % 239] for seed in seeds]) / 255
        images = colours.view(-1, 3, 1, 1).expand(-1, 3, image_size, image_size).clone()
        return images if self._spoil is None else self._spoil(images, seeds)


class Run:
    """Runs of the fake model in one folder, over CIFAR-100 unless told otherwise, and what it told.

    A second call continues what the first left; ``spent_s`` is what that took.
    """

    def __init__(self, run_dir: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.run_dir = run_dir
        self.events: list[Event] = []
        self.stop = StopRequest()
        self.guard: Guard = NoGuard()
        self.spent_s = 0.0
        self.batch_sizes: dict[Any, int] = {}
        self.device = torch.device("cpu")
        run_dir.mkdir(exist_ok=True)

    def __call__(self, generator: FakeGenerator, **changes: object) -> RunResult:
        settings = GenerateSettings(**{"dataset": "cifar100", "model": "fake"} | changes)  # type: ignore[arg-type]
        folder = find_prompts_dir(None)
        books = {spec: load_prompt_book(spec, folder) for spec in settings.specs}
        return run_generate(settings, books, lambda: generator, self.parts())

    def parts(self) -> RunParts:
        """What a process of this run begins with."""
        return RunParts(
            device=self.device,
            run_dir=self.run_dir,
            run_seed=0,
            clock=self.clock,
            timer=PhaseTimer(self.clock, "start_up"),
            emit=self.events.append,
            stop=self.stop,
            guard=self.guard,
            state=RunState.load(self.run_dir, self.spent_s),
            batch_sizes=self.batch_sizes,
        )

    def notices(self) -> list[str]:
        """What a person was told."""
        return [event.text for event in self.events if isinstance(event, Notice)]
