"""From requests to thumbnails: a GPU is handed the next batch before the last one is finished.

While a GPU works on a batch, Python has nothing to do but wait; when it has ended, the GPU waits
while Python judges it, writes it down and draws the noise of the next. So the next batch is begun
while this one is under way, on the guess that all its images will be good. Where one was not, the
batch that was begun is thrown away and the right one is made: what is made, and in which order, is
the same as without. A CPU does its work at once and gains nothing; with several steps an image the
noise between them still waits for the device (several_steps.py).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor

from challenge.errors import first_line
from challenge.events import Emit, Notice
from challenge.generators.base import ImageGenerator
from challenge.prompts import PromptBook
from challenge.rounds import ImageRequest
from challenge.seeds import derive_seed
from challenge.thumbnails import ThumbnailMaker
from challenge.transfer import Arriving


class PromptDeck:
    """Deals out a class's whole pool of prompts in an order that the run seed picks."""

    def __init__(self, book: PromptBook, run_seed: int) -> None:
        self._pools = []
        for entry in book.classes:
            pool = list(book.prompts_for(entry.index))
            random.Random(derive_seed(run_seed, book.dataset, "prompts", entry.index)).shuffle(pool)
            self._pools.append(pool)

    def prompt(self, request: ImageRequest) -> str:
        """The prompt of this image; a second attempt asks for the same."""
        pool = self._pools[request.class_index]
        return pool[request.round_index % len(pool)]


@dataclass(frozen=True)
class BegunBatch:
    """A batch that the device has been told to make."""

    requests: Sequence[ImageRequest]
    thumbnails: Arriving


class BatchMaker:
    """Makes the batches of one data set; with ``looks_ahead`` one more is begun beforehand."""

    def __init__(
        self,
        generator: ImageGenerator,
        thumbnail_maker: ThumbnailMaker,
        deck: PromptDeck,
        *,
        looks_ahead: bool,
        emit: Emit,
    ) -> None:
        self._generator, self._thumbnail_maker, self._deck = generator, thumbnail_maker, deck
        self._image_size = generator.image_size(thumbnail_maker.spec.image_size)
        self._looks_ahead, self._emit = looks_ahead, emit
        self._ahead: BegunBatch | None = None

    def has_begun(self, requests: Sequence[ImageRequest]) -> bool:
        """Whether the device is at this batch already."""
        return self._ahead is not None and self._ahead.requests == requests

    @property
    def is_under_way(self) -> bool:
        """Whether the device is at a batch that nobody has waited for."""
        return self._ahead is not None

    def throw_away(self) -> None:
        """Forget the batch that was begun ahead."""
        self._ahead = None

    def make(
        self,
        requests: Sequence[ImageRequest],
        guess_next: Callable[[], Sequence[ImageRequest]],
    ) -> tuple[UInt8[Tensor, "B C S S"], list[bool]]:
        """Thumbnails, and for each whether it can be used, both on the CPU.

        Meanwhile the batch that ``guess_next`` tells of is begun; an empty one is none.
        """
        begun = self._ahead if self.has_begun(requests) else None
        self._ahead = None
        if begun is None:
            begun = self._begin(requests)
        if self._looks_ahead and (guess := guess_next()):
            self._begin_ahead(guess)
        return self._thumbnail_maker.finish(begun.thumbnails)

    def _begin(self, requests: Sequence[ImageRequest]) -> BegunBatch:
        prompts = [self._deck.prompt(request) for request in requests]
        seeds = [request.seed for request in requests]
        pictures = self._generator.generate(prompts, seeds, self._image_size)
        return BegunBatch(requests, self._thumbnail_maker.start(pictures, requests))

    def _begin_ahead(self, requests: Sequence[ImageRequest]) -> None:
        """Begin it if the device can; a device that has no room for two is given one at a time."""
        try:
            self._ahead = self._begin(requests)
        except RuntimeError as error:  # out of memory is one
            self._looks_ahead = False
            text = f"no batch is begun ahead any more: {first_line(error)}"
            self._emit(Notice(text, "warning"))
