"""How many images to make in one call of the model: found on real work, while it is done."""

from collections.abc import Callable, Sequence

from challenge.budget import Choice

FIRST_SIZE, LARGEST_SIZE = 8, 256
PLANNED_SIZE = 64  # with --ipc N: the same plan has the same batches, so it makes the same file
LONGEST_BATCH_SHARE = 0.01  # of the limit: what is lost at the end is half a batch on average
WORTHWHILE_GAIN = 1.05
HOPED_FOR_SPEED_UP = 1.5  # of the first doubling, when nothing is known yet
FLAT_DOUBLINGS = 2  # so many in a row end the search; one may lie before a step (2-core Xeon, AMX,
# UNet at 32 pixels, images/s: 364 in batches of 16, 372 of 32, 850 of 256)


class BatchSizer:
    """Doubles the batch until images per second twice did not grow by 5 %, while trying pays.

    A batch is kept shorter than ``longest_s``, since half of the last batch is lost on average when
    time ends. What a larger batch costs first (buffers, kernels chosen anew) is taken to be what it
    cost at the size before. ``has_room`` tells, after a batch, whether twice as large a one fits
    into the device's memory.
    """

    def __init__(
        self,
        fixed: int | None,
        longest_s: float,
        first: int = FIRST_SIZE,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self.size = fixed or first
        self.settled = fixed is not None
        self.choices: list[Choice] = []
        self._longest_s, self._has_room = longest_s, has_room
        self._seconds: list[float] = []
        self._best_size = self.size
        self._best_rate = 0.0
        self._flat = 0

    def observe(self, size: int, seconds: float, left_s: float) -> None:
        """One batch took so long, ``left_s`` before the deadline.

        Two of a size are looked at; the first may hold one-off costs.
        """
        if self.settled or size != self.size:
            return
        self._seconds.append(seconds)
        if len(self._seconds) < 2:
            return
        first_s, fastest_s = self._seconds[0], min(self._seconds)
        self._seconds.clear()
        gain = size / fastest_s / self._best_rate if self._best_rate else HOPED_FOR_SPEED_UP
        if gain >= WORTHWHILE_GAIN:
            self._best_size, self._best_rate, self._flat = size, size / fastest_s, 0
        else:
            self._flat += 1
            if self._flat == FLAT_DOUBLINGS:
                self._settle(self._best_size)
                return
        hope = max(gain, WORTHWHILE_GAIN)
        choice = Choice(f"batch of {2 * size}", hope, first_s - fastest_s, left_s)
        self.choices.append(choice)
        is_long = 2 * size > LARGEST_SIZE or 2 * fastest_s > self._longest_s
        if is_long or not choice.pays or not self._has_room():
            self._settle(self._best_size)
        else:
            self.size = 2 * size

    def restore(self, sizes: Sequence[int]) -> None:
        """Go on with the size that was run most often of late, after a resume."""
        if sizes and not self.settled:
            late = list(sizes[-16:])
            self._settle(max(late, key=late.count))

    def out_of_memory(self, size: int) -> bool:
        """Halve the batch; False when it was one image already."""
        self._settle(max(1, size // 2))
        return size > 1

    def _settle(self, size: int) -> None:
        self.size, self.settled = size, True
