"""What to make next, in batches of which size, when to write a file, and when to stop.

The scheduler is told costs and the time; it holds no clock, no torch and no model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

from challenge.batch_sizer import BatchSizer
from challenge.budget import BatchCost, Choice, Deadline, PackCost
from challenge.errors import BudgetError
from challenge.file_plan import FileCeiling, FilePlan, plan_file
from challenge.rounds import BalancedRounds, ImageRequest, Place
from challenge.settings import AugmentPreset
from challenge.spec import DatasetName
from challenge.watch import Watch

NO_TIME = "no time for another batch"
CAUTION_AHEAD = 1  # batches that must still fit after the one begun ahead
LATE_SHARE = 0.08  # of the time, at its end: from there on a file with nearly all is to stand
EARLY_SHARE = 0.02  # of the time, beyond the reserve: enough to make more images after all
CHECKPOINT_SHARE = 0.01  # of the time that the valid files on the way may cost
HANG_FACTOR, SHORTEST_HANG_S = 20, 20.0  # a batch that takes longer is asked for anew
LARGE_RESERVE_SHARE = 0.05
# Of the caution in the reserve: first the reserve begins, then the batch's alarm, then the guard.
INTERRUPT_CAUTION, GUARD_CAUTION = 2 / 3, 1 / 3


@dataclass
class Costs:
    """What the scheduler knows of time: of batches, of packing, and of the best batch size."""

    batch: BatchCost
    pack: PackCost
    sizer: BatchSizer
    choices: list[Choice] = field(default_factory=list)  # made before the first batch


class Scheduler:
    """Deals out the batches of one data set until the images asked for are made or time is up.

    A batch is dealt out only if its pessimistic cost, and then the pessimistic cost of packing all
    that would be there, still fit before the deadline. The last batches are halved until they fit.
    """

    def __init__(
        self,
        rounds: BalancedRounds,
        costs: Costs,
        deadline: Deadline,
        *,
        target_ipc: int | None,
        augment: AugmentPreset,
        ceiling: FileCeiling | None = None,
    ) -> None:
        self._rounds, self._costs = rounds, costs
        self._target_ipc, self._augment, self._ceiling = target_ipc, augment, ceiling
        self.deadline = deadline
        self._finish_now = False
        self._generated_in_file = self._rounds_in_file = 0
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

    @property
    def batch_size_is_settled(self) -> bool:
        """Whether the search for it is over."""
        return self._costs.sizer.settled

    def take_batch_size(self, size: int) -> None:
        """Go on in batches of this size, unless the size is settled."""
        self._costs.sizer.restore([size])

    @property
    def file_stands(self) -> bool:
        """Whether a file of this process stands."""
        return self._generated_in_file > 0

    @property
    def choices(self) -> list[Choice]:
        """What was weighed against the time left, and how."""
        return self._costs.choices + self._costs.sizer.choices

    def chose(self, choice: Choice) -> None:
        """Remember something else that was weighed."""
        self._costs.choices = [*self._costs.choices, choice]

    def file_plan(self) -> FilePlan:
        """What a file of the images made so far would hold."""
        return self._plan(self.counts)

    def resume(self, batches: Iterable[tuple[Sequence[Place], Sequence[Place]]]) -> None:
        """Count the batches of an earlier process: the accepted and the rejected of each.

        Raises ``JournalError`` when they are not those of this plan.
        """
        sizes = []
        for accepted, rejected in batches:
            self._rounds.replay(accepted, rejected)
            self.generated += len(accepted)
            self.rejected += len(rejected)
            sizes.append(len(accepted) + len(rejected))
        self._costs.sizer.restore(sizes)

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
        if self._is_full():
            return []
        size = min(self._costs.sizer.size, missing) if self._finish_now else self._costs.sizer.size
        while size and now_s + self._needed_s(size) > self.deadline.end_s:
            size //= 2
        if not size:
            if missing:
                raise self._too_short(now_s)
            self.stopped_because = NO_TIME
            return []
        batch = self._rounds.take(size)
        if not batch:
            self.stopped_because = "all images asked for are made"
        return batch

    def guess_next(self, now_s: float) -> list[ImageRequest]:
        """What ``next_batch`` will deal after the batch under way, where that is as good as sure.

        Else empty: while the batch size is sought, before the first file, when a file is due, near
        the end, and where an image among so many is likely to be rejected.
        """
        sizer, size = self._costs.sizer, self._costs.sizer.size
        good = self.generated / max(1, self.generated + self.rejected)
        near_s = (2 + CAUTION_AHEAD) * self._costs.batch.pessimistic_s(size)
        near_s += self._reserve_s(2 * size)
        if (
            not sizer.settled
            or self._finish_now
            or not self._generated_in_file
            or self.file_is_due(now_s)
            or now_s + near_s > self.deadline.end_s
            or good**size < 0.5
        ):
            return []
        return self._rounds.peek(size)

    def _is_full(self) -> bool:
        """Whether the file has no room for another round of distinct images."""
        if self._ceiling is None or min(self.counts) < self._ceiling.ipc:
            return False
        self.stopped_because = f"the file is full: {self._ceiling.because}"
        return True

    def _needed_s(self, size: int) -> float:
        """A batch of ``size`` and then the file, both at their worst."""
        return self._costs.batch.pessimistic_s(size) + self._reserve_s(size)

    def finished(
        self,
        accepted: Sequence[ImageRequest],
        rejected: Sequence[ImageRequest],
        seconds: float,
        now_s: float,
    ) -> None:
        """A batch is made: count it and learn what it cost."""
        size = len(accepted) + len(rejected)
        self.generated += len(accepted)
        self.rejected += len(rejected)
        self._rounds.accept(accepted)
        self._rounds.reject(rejected)
        self._costs.sizer.observe(size, seconds, self.deadline.end_s - now_s)
        self._costs.batch.observe(size, seconds)

    def file_written(self, images: int, seconds: float) -> None:
        """A file of all that was made so far, ``images`` in it, took so long."""
        self._costs.pack.observe(images, seconds)
        self._generated_in_file = self.generated
        self._rounds_in_file = min(self.counts)
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
        they all cost under one per cent of the time and the last one's reserve is untouched; one
        more late in the time, if it costs so little alone, since the last one may fail. Where its
        reserve would take more than five per cent of the time, a file of an eighth of its seconds
        is worth writing too: it tells how much smaller the reserve may be.
        """
        images = self.file_plan().ipc * len(self.counts)
        late = self._late_file_is_missing(now_s)
        if images == 0 or (self.generated < self._next_file_at and not late):
            return False
        if self._generated_in_file == 0:
            return True
        cost_s = self._costs.pack.expected_s(images)
        spent_s = 0.0 if late else self._files_s
        cheap = spent_s + cost_s < CHECKPOINT_SHARE * self.deadline.seconds
        fits = now_s + cost_s + self._reserve_s(0) < self.deadline.end_s
        return fits and (cheap or self._teaches(now_s, cost_s))

    def _late_file_is_missing(self, now_s: float) -> bool:
        """Whether little time is left, and the file that stands lacks much of what was made."""
        late = now_s > self.deadline.end_s - LATE_SHARE * self.deadline.seconds
        return late and self._generated_in_file < (1 - 2 * LATE_SHARE) * self.generated

    def may_go_on(self, now_s: float) -> bool:
        """Whether the last file took so much less than its reserve that there is time for more."""
        left_s = self.deadline.end_s - now_s - self._reserve_s(0)
        return self.stopped_because == NO_TIME and left_s > EARLY_SHARE * self.deadline.seconds

    def _teaches(self, now_s: float, cost_s: float) -> bool:
        """Whether a file of this cost may save more of the last one's reserve than it takes."""
        images = (self.projected_ipc(now_s) or 0) * len(self.counts)
        reserve_s = self._costs.pack.pessimistic_s(images)
        return reserve_s > LARGE_RESERVE_SHARE * self.deadline.seconds and 8 * cost_s < reserve_s

    def try_again(self, batch: Sequence[ImageRequest]) -> None:
        """A batch was not made: deal it out again, unchanged."""
        self._rounds.give_back(batch)

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
        rounds = int(exact) if self._augment == "none" else ceil(exact)
        if self._target_ipc is not None:
            rounds = min(rounds, self._target_ipc)
        return self._plan([max(rounds, 1)]).ipc

    def interrupt_at_s(self) -> float:
        """When a batch that has not ended is given up, so that packing still fits."""
        images = self.file_plan().ipc * len(self.counts)
        return self.deadline.end_s - self._costs.pack.pessimistic_s(images, INTERRUPT_CAUTION)

    def patience_s(self, size: int, now_s: float) -> float:
        """How long to wait for a batch: until packing must begin, or until it surely hangs."""
        hangs_s = max(SHORTEST_HANG_S, HANG_FACTOR * self._costs.batch.pessimistic_s(size))
        return min(hangs_s, self.interrupt_at_s() - now_s)

    def watch(self, dataset: DatasetName) -> Watch:
        """What the guard must know now: it packs the complete rounds, without variants."""
        bounds = (self._target_ipc, self._ceiling.ipc if self._ceiling else None)
        most_ipc = min((bound for bound in bounds if bound is not None), default=None)
        plain = plan_file(self.counts, most_ipc, augment="none")
        needed_s = self._costs.pack.pessimistic_s(plain.ipc * len(self.counts), GUARD_CAUTION)
        return Watch(
            dataset=dataset,
            guard_at_s=self.deadline.end_s - needed_s,
            deadline_s=self.deadline.end_s,
            rounds_in_file=self._rounds_in_file,
            most_ipc=most_ipc,
        )

    def _plan(self, counts: Sequence[int]) -> FilePlan:
        most_ipc = self._ceiling.ipc if self._ceiling else None
        return plan_file(counts, self._target_ipc, augment=self._augment, most_ipc=most_ipc)

    def last_file_plan(self, now_s: float) -> FilePlan:
        """What the last file is to hold: all, but for variants that there is no time for."""
        plan, left_s = self.file_plan(), self.deadline.end_s - now_s
        classes, distinct = len(self.counts), min(self.counts)
        while plan.ipc > distinct and self._costs.pack.expected_s(plan.ipc * classes) > left_s:
            plan = FilePlan(max(distinct, plan.ipc * 3 // 4))
        return plan

    def _reserve_s(self, extra_images: int) -> float:
        """Seconds to keep for packing what would be there after ``extra_images`` more.

        While there is no image of some class, a file of the first round alone is better than none.
        """
        classes = len(self.counts)
        if min(self.counts) == 0:
            return self._costs.pack.pessimistic_s(classes, GUARD_CAUTION)
        base_ipc = max(self.counts) + -(-extra_images // classes)
        return self._costs.pack.pessimistic_s(self._plan([base_ipc]).ipc * classes)

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
