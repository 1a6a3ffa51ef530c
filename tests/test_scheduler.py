import random

import pytest
from conftest import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from challenge.batch_sizer import BatchSizer
from challenge.budget import BatchCost, Deadline, PackCost
from challenge.errors import BudgetError
from challenge.file_plan import FileCeiling
from challenge.rounds import BalancedRounds
from challenge.scheduler import Costs, Scheduler
from challenge.settings import AugmentPreset


def make_scheduler(
    *,
    limit_s: float = 100.0,
    classes: int = 10,
    batch_size: int | None = 5,
    image_s: float = 0.1,
    pack_s: float = 1.0,
    target_ipc: int | None = None,
    augment: AugmentPreset = "none",
    ceiling: FileCeiling | None = None,
) -> Scheduler:
    costs = Costs(BatchCost(), PackCost(), BatchSizer(batch_size, limit_s / 100))
    costs.batch.observe(1, image_s)
    costs.pack.observe(classes, pack_s)
    rounds = BalancedRounds("cifar100", classes, 0, target_ipc)
    return Scheduler(
        rounds,
        costs,
        Deadline(0.0, limit_s),
        target_ipc=target_ipc,
        augment=augment,
        ceiling=ceiling,
    )


def test_out_of_memory_makes_the_same_images_in_smaller_batches() -> None:
    scheduler = make_scheduler(batch_size=8)
    batch = scheduler.next_batch(0.0)
    assert scheduler.out_of_memory(batch)
    assert scheduler.next_batch(0.0) == batch[:4]


def test_stops_before_a_batch_that_would_not_fit() -> None:
    scheduler = make_scheduler(limit_s=100.0, batch_size=10, image_s=0.1, pack_s=1.0)
    batch = scheduler.next_batch(0.0)
    scheduler.finished(batch, [], 2.0, now_s=0.0)
    needed_s = 2.0 * BatchCost.margin + scheduler._costs.pack.pessimistic_s(20)
    smallest_s = 0.1 * BatchCost.margin + scheduler._costs.pack.pessimistic_s(20)
    assert len(scheduler.next_batch(100.0 - needed_s - 0.01)) == 10
    assert len(scheduler.next_batch(100.0 - needed_s + 0.01)) == 5
    assert scheduler.next_batch(100.0 - smallest_s + 0.01) == []
    assert scheduler.stopped_because == "no time for another batch"


def test_the_reserve_grows_with_the_images_made() -> None:
    scheduler = make_scheduler(limit_s=1000.0, batch_size=10)
    scheduler.file_written(10, 1.0)
    scheduler.file_written(100, 10.0)
    scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=0.0)
    before_s = scheduler._reserve_s(0)
    for _ in range(19):
        scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=0.0)
    assert before_s == 0.75 + 1.5 * 10.0
    assert scheduler._reserve_s(0) == 0.75 + 1.5 * (1.0 + 9.0 * 200 / 100)


def test_the_first_file_is_due_with_the_first_complete_round() -> None:
    scheduler = make_scheduler(classes=10, batch_size=8)
    scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=0.0)
    assert not scheduler.file_is_due(1.0)
    scheduler.finished(scheduler.next_batch(1.0), [], 1.0, now_s=0.0)
    assert scheduler.file_is_due(2.0)


@pytest.mark.parametrize(("file_s", "due_at"), [(0.1, [20, 40, 80]), (0.45, [20]), (2.0, [])])
def test_files_on_the_way_come_with_every_doubling_while_they_cost_under_one_per_cent(
    file_s: float, due_at: list[int]
) -> None:
    scheduler = make_scheduler(limit_s=100.0, classes=10, batch_size=10, pack_s=0.1)
    scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=0.0)
    scheduler.file_written(1000, file_s)
    due = []
    for _ in range(10):
        scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=0.0)
        if scheduler.file_is_due(1.0):
            due.append(scheduler.generated)
            scheduler.file_written(1000, file_s)
    assert due == due_at


def test_a_file_is_worth_an_eighth_of_a_large_reserve_that_it_may_make_smaller() -> None:
    scheduler = make_scheduler(limit_s=100.0, classes=10, batch_size=10, pack_s=0.1)
    scheduler.finished(scheduler.next_batch(0.0), [], 0.01, now_s=0.0)
    scheduler.file_written(10, 1.5)  # over one per cent of the time, so no other is cheap
    for _ in range(2):
        scheduler.finished(scheduler.next_batch(0.0), [], 0.01, now_s=0.0)
    assert scheduler.file_is_due(1.0)  # by what is known a file of all to come takes minutes
    scheduler.file_written(500, 1.5)
    for _ in range(4):
        scheduler.finished(scheduler.next_batch(0.0), [], 2.0, now_s=0.0)
    assert not scheduler.file_is_due(1.0)  # the line is flat now, and the reserve small


def test_before_the_first_round_is_complete_only_a_plain_file_of_it_is_kept_time_for() -> None:
    scheduler = make_scheduler(
        limit_s=10.0, classes=10, batch_size=5, pack_s=1.0, augment="upright"
    )
    scheduler.finished(scheduler.next_batch(0.0), [], 0.5, now_s=0.5)
    assert scheduler._reserve_s(5) == pytest.approx(1.0 + (0.75 + 0.5) / 3)
    assert scheduler.next_batch(10.0 - 0.55 - 1.42)  # 50 images with their variants take 7.5 s
    with pytest.raises(BudgetError, match="5 of 10 classes have no image yet"):
        scheduler.next_batch(10.0 - 0.3 - 1.0)


def test_the_last_file_leaves_out_the_variants_that_there_is_no_time_for() -> None:
    scheduler = make_scheduler(
        limit_s=10.0, classes=10, batch_size=10, pack_s=1.0, augment="upright"
    )
    scheduler.file_written(10, 1.0)
    scheduler.file_written(50, 5.0)
    scheduler.finished(scheduler.next_batch(0.0), [], 0.5, now_s=0.5)
    assert scheduler.last_file_plan(1.0).ipc == 5
    assert scheduler.last_file_plan(6.0).ipc == 1  # never less than what is distinct


def test_late_in_the_time_a_file_with_nearly_all_is_to_stand() -> None:
    scheduler = make_scheduler(limit_s=100.0, classes=10, batch_size=10, pack_s=0.1)
    for _ in range(10):
        scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=0.0)
    scheduler.file_written(100, 0.9)  # no other is cheap beside it
    for _ in range(5):
        scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=0.0)
    assert not scheduler.file_is_due(91.0)
    assert scheduler.file_is_due(93.0) is False  # 150 images would cost over one per cent alone
    scheduler._costs.pack = PackCost()
    scheduler._costs.pack.observe(100, 0.4)
    assert not scheduler.file_is_due(91.0)
    assert scheduler.file_is_due(93.0)
    scheduler.file_written(150, 0.5)
    assert not scheduler.file_is_due(94.0)


def test_no_file_on_the_way_eats_the_reserve_of_the_last_one() -> None:
    scheduler = make_scheduler(limit_s=100.0, classes=10, batch_size=10, pack_s=0.1)
    scheduler.finished(scheduler.next_batch(0.0), [], 0.1, now_s=0.0)
    scheduler.file_written(10, 0.1)
    scheduler.finished(scheduler.next_batch(0.0), [], 0.1, now_s=0.0)
    assert scheduler.file_is_due(98.0)
    assert not scheduler.file_is_due(99.2)


def test_stops_when_the_images_asked_for_are_made() -> None:
    scheduler = make_scheduler(target_ipc=1, classes=10, batch_size=10)
    scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=0.0)
    assert scheduler.next_batch(1.0) == []
    assert "all images asked for" in scheduler.stopped_because


def test_too_short_a_limit_is_told_at_once_with_what_it_takes() -> None:
    scheduler = make_scheduler(limit_s=30.0, classes=100, batch_size=5, image_s=1.0)
    scheduler.finished(scheduler.next_batch(0.0), [], 5.0, now_s=0.0)
    with pytest.raises(BudgetError, match=r"95 of 100 classes have no image yet .*raise --limit-s"):
        scheduler.next_batch(5.0)


def test_a_stop_request_ends_the_run_after_the_first_round_and_makes_no_image_more_than_that() -> (
    None
):
    scheduler = make_scheduler(classes=10, batch_size=8)
    scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=0.0)
    scheduler.finish_now("SIGINT")
    last = scheduler.next_batch(1.0)
    assert len(last) == 2
    scheduler.finished(last, [], 1.0, now_s=0.0)
    assert scheduler.next_batch(2.0) == []
    assert scheduler.stopped_because == "SIGINT"


def test_the_projection_counts_what_still_fits_and_is_capped_by_the_target() -> None:
    scheduler = make_scheduler(limit_s=100.0, classes=10, batch_size=10, image_s=0.1, pack_s=0.0)
    assert scheduler.projected_ipc(0.0) is None
    scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=0.0)
    projected = scheduler.projected_ipc(1.0)
    assert projected is not None
    assert 85 <= projected <= 100 / BatchCost.margin
    capped = make_scheduler(limit_s=100.0, classes=10, batch_size=10, target_ipc=7)
    capped.finished(capped.next_batch(0.0), [], 1.0, now_s=0.0)
    assert capped.projected_ipc(1.0) == 7


def test_a_batch_size_that_does_not_fit_before_the_end_is_halved_until_it_does() -> None:
    scheduler = make_scheduler(limit_s=100.0, batch_size=64, image_s=1.0, pack_s=1.0)
    assert len(scheduler.next_batch(0.0)) == 64
    assert len(scheduler.next_batch(50.0)) == 32


def test_stops_when_the_file_is_full() -> None:
    ceiling = FileCeiling(2, "--max-file-gib is 1")
    scheduler = make_scheduler(classes=10, batch_size=10, augment="upright", ceiling=ceiling)
    for _ in range(2):
        scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=0.0)
    assert scheduler.file_plan().ipc == 2  # no variants: there is no room for them
    assert scheduler.next_batch(2.0) == []
    assert scheduler.stopped_because == "the file is full: --max-file-gib is 1"


def test_packing_the_alarm_and_the_guard_have_their_moments_in_this_order() -> None:
    scheduler = make_scheduler(limit_s=100.0, batch_size=10, pack_s=4.0)
    batch = scheduler.next_batch(0.0)
    scheduler.finished(batch, [], 1.0, now_s=1.0)
    watch = scheduler.watch("cifar100")
    assert scheduler.deadline.end_s - scheduler._reserve_s(0) == pytest.approx(100 - 4 - 2.75)
    assert scheduler.interrupt_at_s() == pytest.approx(100 - 4 - 2.75 * 2 / 3)
    assert watch.guard_at_s == pytest.approx(100 - 4 - 2.75 / 3)
    assert (watch.deadline_s, watch.rounds_in_file, watch.most_ipc) == (100.0, 0, None)


def test_a_batch_is_waited_for_twenty_times_as_long_as_it_may_take_or_until_packing() -> None:
    scheduler = make_scheduler(limit_s=100.0, batch_size=10, image_s=0.1, pack_s=4.0)
    scheduler.finished(scheduler.next_batch(0.0), [], 2.0, now_s=2.0)
    assert scheduler.patience_s(10, 5.0) == pytest.approx(20 * 2.0 * BatchCost.margin)
    assert scheduler.patience_s(1, 5.0) == 20.0  # less would be called a hang too soon
    assert scheduler.patience_s(10, 90.0) == pytest.approx(scheduler.interrupt_at_s() - 90.0)


def test_the_guard_is_told_what_the_file_holds_and_may_hold() -> None:
    ceiling = FileCeiling(7, "--max-file-gib is 1")
    scheduler = make_scheduler(batch_size=10, target_ipc=9, ceiling=ceiling)
    scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=1.0)
    scheduler.file_written(10, 0.5)
    watch = scheduler.watch("cifar100")
    assert (watch.rounds_in_file, watch.most_ipc) == (1, 7)


def test_a_resumed_run_goes_on_where_the_journal_ends() -> None:
    scheduler = make_scheduler(classes=3, batch_size=2)
    scheduler.resume([([(0, 0, 0)], [(1, 0, 0)]), ([(1, 0, 1), (2, 0, 0)], [])])
    assert (scheduler.generated, scheduler.rejected) == (3, 1)
    assert scheduler.counts == [1, 1, 1]
    assert scheduler.file_is_outdated
    assert [request.place for request in scheduler.next_batch(0.0)] == [(0, 1, 0), (1, 1, 0)]


@settings(deadline=None, max_examples=40)
@given(
    limit_s=st.floats(20, 120),
    classes=st.integers(2, 50),
    batch_size=st.one_of(st.none(), st.integers(1, 40)),
    image_s=st.floats(0.01, 0.05),
    spread=st.floats(0, 0.05),
    pack_image_s=st.floats(0, 0.0005),
    augment=st.sampled_from(["none", "upright"]),
    seed=st.integers(0, 2**32),
)
def test_a_run_is_in_time_balanced_and_uses_its_time(
    limit_s: float,
    classes: int,
    batch_size: int | None,
    image_s: float,
    spread: float,
    pack_image_s: float,
    augment: AugmentPreset,
    seed: int,
) -> None:
    rng, clock = random.Random(seed), FakeClock()

    def pack_seconds(images: int) -> float:
        return 0.1 + pack_image_s * images

    scheduler = make_scheduler(
        limit_s=limit_s,
        classes=classes,
        batch_size=batch_size,
        image_s=image_s,
        pack_s=pack_seconds(classes),
        augment=augment,
    )
    scheduler._costs.pack.observe(10 * classes, pack_seconds(10 * classes))

    def pack() -> None:
        images = scheduler.file_plan().ipc * classes
        clock.advance(pack_seconds(images))
        scheduler.file_written(images, pack_seconds(images))

    while batch := scheduler.next_batch(clock()):
        seconds = len(batch) * image_s * rng.uniform(1 - spread, 1 + spread)
        clock.advance(seconds)
        scheduler.finished(batch, [], seconds, clock())
        if scheduler.file_is_due(clock()):
            pack()
    pack()
    assert clock() <= limit_s
    assert max(scheduler.counts) - min(scheduler.counts) <= 1
    longest_batch_s = max(40 * 0.05, limit_s / 100) * 1.3
    assert (
        clock()
        >= 0.9 * limit_s - longest_batch_s - 0.5 - 0.4 * pack_image_s * scheduler.generated * 5
    )


def with_first_file(**settings: object) -> Scheduler:
    """Ten batches are made, and there is a file."""
    scheduler = make_scheduler(limit_s=1000.0, batch_size=10, **settings)  # type: ignore[arg-type]
    for _ in range(10):
        scheduler.finished(scheduler.next_batch(0.0), [], 1.0, now_s=0.0)
    scheduler.file_written(100, 1.0)
    return scheduler


def test_the_guess_is_the_next_batch_if_all_of_this_one_is_good() -> None:
    scheduler = with_first_file()
    batch = scheduler.next_batch(11.0)
    guess = scheduler.guess_next(11.0)
    scheduler.finished(batch, [], 1.0, now_s=12.0)
    assert len(guess) == 10
    assert scheduler.next_batch(12.0) == guess


def test_there_is_no_guess_where_it_may_be_wrong() -> None:
    seeking = make_scheduler(batch_size=None)
    assert seeking.guess_next(0.0) == []  # the batch size is not known yet
    before_the_first_file = make_scheduler(batch_size=5)
    batch = before_the_first_file.next_batch(0.0)
    before_the_first_file.finished(batch, [], 0.5, now_s=0.5)
    assert before_the_first_file.guess_next(0.0) == []
    stopping = with_first_file()
    stopping.finish_now("stopped")
    assert stopping.guess_next(11.0) == []
    file_is_due = with_first_file()
    for _ in range(10):
        file_is_due.finished(file_is_due.next_batch(11.0), [], 1.0, now_s=11.0)
    assert file_is_due.file_is_due(12.0)
    assert file_is_due.guess_next(12.0) == []
    rejecting = with_first_file()
    batch = rejecting.next_batch(11.0)
    rejecting.finished([], batch, 1.0, now_s=12.0)  # one in eleven is bad, ten are asked for
    assert rejecting.guess_next(12.0) == []


def test_near_the_end_there_is_no_guess() -> None:
    scheduler = with_first_file()
    batch_s = scheduler._costs.batch.pessimistic_s(10)
    last_s = 1000.0 - 3 * batch_s - scheduler._reserve_s(20)
    assert scheduler.guess_next(last_s - 0.01)
    assert not scheduler.guess_next(last_s + 0.01)
