"""Class-balanced rounds: which images are to be made, in which order, and from which seeds.

Round r is one image of every class, so whenever time ends all classes have the same count plus or
minus one. The order depends on the plan alone, so a resumed run finds its place by replaying what
the journal tells of the first one.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from challenge.errors import JournalError
from challenge.seeds import derive_seed

Place = tuple[int, int, int]
"""What one image is: class, round, attempt."""


@dataclass(frozen=True)
class ImageRequest:
    """One image to make; ``attempt`` counts up when an image was rejected."""

    class_index: int
    round_index: int
    attempt: int
    seed: int

    @property
    def place(self) -> Place:
        """Class, round and attempt, as the journal keeps them."""
        return self.class_index, self.round_index, self.attempt


class BalancedRounds:
    """Deals out image requests round by round and counts what was accepted."""

    def __init__(
        self, dataset: str, num_classes: int, run_seed: int, rounds: int | None = None
    ) -> None:
        self._place = (run_seed, dataset)
        self._num_classes = num_classes
        self._total = None if rounds is None else rounds * num_classes
        self._dealt = 0
        # rejected or given back: made before anything new
        self._waiting: deque[ImageRequest] = deque()
        self.counts = [0] * num_classes

    def take(self, size: int) -> list[ImageRequest]:
        """The next ``size`` requests; fewer, or none, when all rounds are dealt out."""
        batch = self.peek(size)
        waited = min(size, len(self._waiting))
        for _ in range(waited):
            self._waiting.popleft()
        self._dealt += len(batch) - waited
        return batch

    def peek(self, size: int) -> list[ImageRequest]:
        """What ``take`` would deal out."""
        batch = list(islice(self._waiting, size))
        fresh = size - len(batch)
        if self._total is not None:
            fresh = min(fresh, self._total - self._dealt)
        return batch + [self._request(index) for index in range(self._dealt, self._dealt + fresh)]

    def accept(self, requests: Iterable[ImageRequest]) -> None:
        """Count images that are made and good."""
        for request in requests:
            self.counts[request.class_index] += 1

    def reject(self, requests: Iterable[ImageRequest]) -> None:
        """Ask again for images that came out unusable, with the next attempt's seed."""
        self._waiting.extend(self._with_seed(replace(r, attempt=r.attempt + 1)) for r in requests)

    def give_back(self, requests: Sequence[ImageRequest]) -> None:
        """Put back a batch that was never made (out of memory), to be dealt out again first."""
        self._waiting.extendleft(reversed(requests))

    def replay(self, accepted: Sequence[Place], rejected: Sequence[Place]) -> None:
        """Repeat a batch that the journal tells of, as if it had just been made.

        Raises ``JournalError`` when these rounds would never have dealt it out.
        """
        batch = self.take(len(accepted) + len(rejected))
        good, bad = set(accepted), set(rejected)
        if {request.place for request in batch} != good | bad:
            strange = next(place for place in (*accepted, *rejected))
            raise JournalError(
                f"a batch of the journal, with (class, round, attempt) {strange}, is not one that "
                "this run would have made; continue with the program and settings of the first run"
            )
        self.accept(request for request in batch if request.place in good)
        self.reject(request for request in batch if request.place in bad)

    def _request(self, index: int) -> ImageRequest:
        round_index, class_index = divmod(index, self._num_classes)
        return self._with_seed(ImageRequest(class_index, round_index, attempt=0, seed=0))

    def _with_seed(self, request: ImageRequest) -> ImageRequest:
        seed = derive_seed(*self._place, request.class_index, request.round_index, request.attempt)
        return replace(request, seed=seed)
