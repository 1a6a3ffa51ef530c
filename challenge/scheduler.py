"""What to make next, in which order, in batches of which size, and when to stop.

Rounds are balanced over the classes: round r is one image of every class, so whenever time ends all
classes have the same count plus or minus one. The scheduler is told costs and the time; it holds no
clock, no torch and no model.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil

from challenge.budget import BatchCost, Deadline, PackCost
from challenge.errors import BudgetError
from challenge.file_plan import FilePlan, plan_file
from challenge.seeds import derive_seed

CHECKPOINT_SHARE = 0.01  # of the time that the valid files on the way may cost


@dataclass(frozen=True)
class ImageRequest:
    """One image to make; ``attempt`` counts up when an image was rejected."""

    class_index: int
    round_index: int
    attempt: int
    seed: int


class BalancedRounds:
    """Deals out image requests round by round and counts what was accepted."""

    def __init__(
        self, dataset: str, num_classes: int, run_seed: int, rounds: int | None = None
    ) -> None:
        self._place = (run_seed, dataset)
        self._num_classes = num_classes
        self._total = None if rounds is None else rounds * num_classes
        self._dealt = 0
        self._waiting: deque[ImageRequest] = (
            deque()
        )  # rejected or given back: made before anything new
        self.counts = [0] * num_classes

    def take(self, size: int) -> list[ImageRequest]:
        """The next ``size`` requests; fewer, or none, when all rounds are dealt out."""
        batch = [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]
        fresh = size - len(batch)
        if self._total is not None:
            fresh = min(fresh, self._total - self._dealt)
        batch += [self._request(index) for index in range(self._dealt, self._dealt + fresh)]
        self._dealt += fresh
        return batch

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

    def _request(self, index: int) -> ImageRequest:
        round_index, class_index = divmod(index, self._num_classes)
        return self._with_seed(ImageRequest(class_index, round_index, attempt=0, seed=0))

    def _with_seed(self, request: ImageRequest) -> ImageRequest:
        seed = derive_seed(*self._place, request.class_index, request.round_index, request.attempt)
        return replace(request, seed=seed)


class BatchSizer:
    """Finds the batch size on real work: doubles it while images per second grow by 5 %.

    A batch is kept shorter than ``longest_s``, since half of the last batch is lost on average when
    time ends.
    """

    first, largest, worthwhile_gain = 8, 256, 1.05

    def __init__(self, fixed: int | None, longest_s: float) -> None:
        self.size = fixed or self.first
        self.settled = fixed is not None
        self._longest_s = longest_s
        self._seconds: list[float] = []
        self._best_size = self.size
        self._best_rate = 0.0

    def observe(self, size: int, seconds: float) -> None:
        """One batch took so long. Two of a size are looked at; the first may hold one-off costs."""
        if self.settled or size != self.size:
            return
        self._seconds.append(seconds)
        if len(self._seconds) < 2:
            return
        fastest_s = min(self._seconds)
        self._seconds.clear()
        if size / fastest_s < self._best_rate * self.worthwhile_gain:
            self._settle(self._best_size)
        else:
            self._best_size, self._best_rate = size, size / fastest_s
            if 2 * size > self.largest or 2 * fastest_s > self._longest_s:
                self._settle(size)
            else:
                self.size = 2 * size

    def out_of_memory(self, size: int) -> bool:
        """Halve the batch; False when it was one image already."""
        self._settle(max(1, size // 2))
        return size > 1

    def _settle(self, size: int) -> None:
        self.size, self.settled = size, True


@dataclass
class Costs:
    """What the scheduler knows of time: of batches, of packing, and of the best batch size."""

    batch: BatchCost
    pack: PackCost
    sizer: BatchSizer


class Scheduler:
    """Deals out the batches of one data set until the images asked for are made or time is up.

    The next batch is dealt out only if its pessimistic cost, and then the pessimistic cost of
    packing all that would be there, still fit before the deadline.
    """

    def __init__(
        self,
        rounds: BalancedRounds,
        costs: Costs,
        deadline: Deadline,
        *,
        target_ipc: int | None,
        augment: bool,
    ) -> None:
        self._rounds, self._costs = rounds, costs
        self._target_ipc, self._augment = target_ipc, augment
        self.deadline = deadline
        self._finish_now = False
        self._generated_in_file = 0
        self._next_file_at = 0
        self._files_s = 0.0
        self.generated = 0
        self.rejected = 0
        self.stopped_because = ""

    @property
    def counts(self) -> list[int]:
        """Accepted images of each class."""
        return self._rounds.counts

    @property
    def batch_size(self) -> int:
        """Size of the next batch, the last one of a run apart."""
        return self._costs.sizer.size

    def file_plan(self) -> FilePlan:
        """What a file of the images made so far would hold."""
        return plan_file(self.counts, self._target_ipc, augment=self._augment)

    def finish_now(self, why: str) -> None:
        """Stop as soon as each class has an image, so that there is something to hand in."""
        self._finish_now = True
        self.stopped_because = why

    def next_batch(self, now_s: float) -> list[ImageRequest]:
        """The next batch, or an empty list: then ``stopped_because`` says why.

        Raises ``BudgetError`` as soon as it is clear that not even one image of each class can be
        made.
        """
        missing = self.counts.count(0)
        if missing:
            self._require_first_round_fits(now_s)
        elif self._finish_now:
            return []
        size = min(self._costs.sizer.size, missing) if self._finish_now else self._costs.sizer.size
        needed_s = self._costs.batch.pessimistic_s(size) + self._reserve_s(size)
        if now_s + needed_s > self.deadline.end_s:
            if missing:
                raise self._too_short(now_s)
            self.stopped_because = "no time for another batch"
            return []
        batch = self._rounds.take(size)
        if not batch:
            self.stopped_because = "all images asked for are made"
        return batch

    def finished(
        self, accepted: Sequence[ImageRequest], rejected: Sequence[ImageRequest], seconds: float
    ) -> None:
        """A batch is made: count it and learn what it cost."""
        size = len(accepted) + len(rejected)
        self.generated += len(accepted)
        self.rejected += len(rejected)
        self._rounds.accept(accepted)
        self._rounds.reject(rejected)
        self._costs.sizer.observe(size, seconds)
        self._costs.batch.observe(size, seconds)

    def file_written(self, images: int, seconds: float) -> None:
        """A file of all that was made so far, ``images`` in it, took so long."""
        self._costs.pack.observe(images, seconds)
        self._generated_in_file = self.generated
        self.file_tried(seconds)

    def file_tried(self, seconds: float) -> None:
        """So much time went into a file, written or not: wait until twice as much is made."""
        self._files_s += seconds
        self._next_file_at = 2 * self.generated

    @property
    def file_is_outdated(self) -> bool:
        """Whether images were made since the last file."""
        return self.generated > self._generated_in_file

    def file_is_due(self, now_s: float) -> bool:
        """Whether to write a valid file now, on the way.

        The first as soon as each class has an image; another when twice as much is made, while
        they all cost under one per cent of the time and the last one's reserve is untouched.
        """
        images = self.file_plan().ipc * len(self.counts)
        if images == 0 or self.generated < self._next_file_at:
            return False
        if self._generated_in_file == 0:
            return True
        cost_s = self._costs.pack.expected_s(images)
        cheap = self._files_s + cost_s < CHECKPOINT_SHARE * self.deadline.seconds
        return cheap and now_s + cost_s + self._reserve_s(0) < self.deadline.end_s

    def out_of_memory(self, batch: Sequence[ImageRequest]) -> bool:
        """A batch did not fit on the device: halve it. False when it was a single image."""
        self._rounds.give_back(batch)
        return self._costs.sizer.out_of_memory(len(batch))

    def projected_ipc(self, now_s: float) -> int | None:
        """Images per class in the file if all goes on as now; None in the first round."""
        if min(self.counts) == 0:
            return None
        size = self._costs.sizer.size
        left_s = self.deadline.end_s - now_s - self._reserve_s(0)
        more = max(0.0, left_s) / self._costs.batch.pessimistic_s(size) * size
        exact = (self.generated + more) / len(self.counts)
        rounds = ceil(exact) if self._augment else int(exact)
        if self._target_ipc is not None:
            rounds = min(rounds, self._target_ipc)
        return plan_file([max(rounds, 1)], self._target_ipc, augment=self._augment).ipc

    def _reserve_s(self, extra_images: int) -> float:
        """Seconds to keep for packing what would be there after ``extra_images`` more."""
        classes = len(self.counts)
        base_ipc = max(self.counts) + -(-extra_images // classes)
        ipc = plan_file([base_ipc], self._target_ipc, augment=self._augment).ipc
        return self._costs.pack.pessimistic_s(ipc * classes)

    def _require_first_round_fits(self, now_s: float) -> None:
        """Fail early, not at the deadline.

        While the batch size still grows, four times the speed is thought possible.
        """
        if self.generated + self.rejected == 0:
            return  # the single image of the warm-up says too little
        speed_up = 1.25 if self._costs.sizer.settled else 4.0
        missing = self.counts.count(0)
        needed_s = missing * self._costs.batch.fastest_s_per_image() / speed_up
        if now_s + needed_s + self._reserve_s(0) > self.deadline.end_s:
            raise self._too_short(now_s)

    def _too_short(self, now_s: float) -> BudgetError:
        left_s = max(0.0, self.deadline.end_s - now_s)
        missing = self.counts.count(0)
        rate = 1 / self._costs.batch.fastest_s_per_image()
        return BudgetError(
            f"{left_s:.1f} s left of {self.deadline.seconds:g} s, and "
            f"{missing} of {len(self.counts)} classes have no image yet ({missing / rate:.1f} s at "
            f"{rate:.3g} images/s in batches of {self.batch_size}, then {self._reserve_s(0):.1f} s "
            "to pack); "
            "raise --limit-s, lower --batch-size, or take a faster model or device"
        )
