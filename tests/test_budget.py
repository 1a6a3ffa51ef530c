import pytest
from conftest import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from challenge.budget import BatchCost, Choice, Deadline, PackCost, PhaseTimer, upper_quantile


def test_phases_sum_to_the_total_and_a_nested_phase_takes_its_seconds_from_the_outer(
    clock: FakeClock,
) -> None:
    timer = PhaseTimer(clock, "start_up")
    clock.advance(2)
    with timer.phase("write"):
        clock.advance(1)
        with timer.phase("augment"):
            clock.advance(5)
        clock.advance(1)
    timer.begin("load")
    clock.advance(3)
    assert timer.totals_s() == {"start_up": 2, "write": 2, "augment": 5, "load": 3}


def test_phases_of_a_scope_are_kept_apart_from_shared_ones(clock: FakeClock) -> None:
    timer = PhaseTimer(clock, "load")
    clock.advance(1)
    with timer.scope("cifar100"), timer.phase("generate"):
        clock.advance(4)
    clock.advance(1)
    assert timer.totals_s("cifar100") == {"generate": 4}
    assert timer.totals_s() == {"load": 2}


def test_a_phase_ends_also_when_its_body_fails(clock: FakeClock) -> None:
    timer = PhaseTimer(clock, "load")

    def fail() -> None:
        with timer.phase("write"):
            clock.advance(1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    clock.advance(2)
    assert timer.totals_s() == {"load": 2, "write": 1}


def test_each_set_has_the_whole_limit_from_its_own_start() -> None:
    second = Deadline.share(
        start_s=590.0, run_start_s=0.0, limit_s=600.0, covers="each", sets_left=1
    )
    assert (second.start_s, second.end_s) == (590.0, 1190.0)


def test_one_limit_for_all_is_split_evenly_and_the_last_set_ends_with_it() -> None:
    first = Deadline.share(start_s=0.0, run_start_s=0.0, limit_s=600.0, covers="all", sets_left=2)
    second = Deadline.share(
        start_s=200.0, run_start_s=0.0, limit_s=600.0, covers="all", sets_left=1
    )
    assert first.end_s == 300.0
    assert second.end_s == 600.0


def test_a_batch_size_never_run_costs_as_much_an_image_as_the_nearest_smaller() -> None:
    cost = BatchCost()
    cost.observe(8, 2.0)
    assert cost.pessimistic_s(16) == pytest.approx(4.0 * BatchCost.margin)


def test_a_smaller_batch_is_not_thought_cheaper_than_the_one_that_was_run() -> None:
    cost = BatchCost()
    cost.observe(8, 2.0)
    assert cost.pessimistic_s(1) == pytest.approx(2.0 * BatchCost.margin)


def test_one_stall_among_many_batches_does_not_raise_the_batch_cost() -> None:
    cost = BatchCost()
    for seconds in [1.0] * 40 + [20.0] + [1.0] * 20:
        cost.observe(4, seconds)
    assert cost.pessimistic_s(4) == pytest.approx(BatchCost.margin)


def test_a_size_never_run_lies_on_the_line_between_its_neighbours() -> None:
    cost = BatchCost()
    cost.observe(1, 1.0)
    cost.observe(9, 5.0)
    assert cost.pessimistic_s(5) == pytest.approx(3.0 * BatchCost.margin)


def test_a_slow_first_batch_of_a_size_is_forgotten_when_four_others_are_known() -> None:
    cost = BatchCost()
    for seconds in [30.0, 1.0, 1.0, 1.0]:
        cost.observe(4, seconds)
    assert cost.pessimistic_s(4) == pytest.approx(30.0 * BatchCost.margin)
    cost.observe(4, 1.0)
    assert cost.pessimistic_s(4) == pytest.approx(BatchCost.margin)


def test_what_costs_time_first_pays_if_more_is_won_in_the_time_left() -> None:
    assert Choice("compile", speed_up=1.25, cost_s=100.0, left_s=501.0).pays
    assert not Choice("compile", speed_up=1.25, cost_s=100.0, left_s=499.0).pays
    assert not Choice("nothing", speed_up=1.0, cost_s=0.0, left_s=600.0).pays


def test_with_less_caution_less_is_kept_beyond_the_expected_time() -> None:
    cost = PackCost()
    cost.observe(100, 2.0)
    assert cost.pessimistic_s(100) == pytest.approx(PackCost.floor_s + PackCost.margin * 2.0)
    assert cost.pessimistic_s(100, caution=0.5) == pytest.approx(2.0 + 0.5 * (0.75 + 0.5 * 2.0))
    assert cost.pessimistic_s(100, caution=0.0) == pytest.approx(2.0)


def test_asking_for_a_cost_before_anything_was_observed_is_an_error() -> None:
    with pytest.raises(ValueError, match="no batch"):
        BatchCost().pessimistic_s(1)
    with pytest.raises(ValueError, match="no file"):
        PackCost().expected_s(1)


def test_the_cost_of_a_file_lies_on_the_line_through_the_largest_so_far() -> None:
    cost = PackCost()
    for images, seconds in [(100, 0.5), (1000, 1.0), (200, 0.9)]:
        cost.observe(images, seconds)
    assert cost.expected_s(5000) == 0.5 + 5 * 0.5
    assert cost.pessimistic_s(5000) == pytest.approx(PackCost.floor_s + PackCost.margin * 3.0)


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(0.001, 100)), min_size=1, max_size=8))
def test_expected_pack_time_is_never_below_what_was_observed(
    observed: list[tuple[int, float]],
) -> None:
    cost = PackCost()
    for images, seconds in observed:
        cost.observe(images, seconds)
    for images, seconds in observed:
        assert cost.expected_s(images) >= seconds * (1 - 1e-9)
        assert cost.pessimistic_s(images) > seconds


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_upper_quantile_is_the_smallest_value_with_that_share_below_or_at_it(
    values: list[float], share: float
) -> None:
    quantile = upper_quantile(values, share)
    at_or_below = sum(value <= quantile for value in values)
    below = sum(value < quantile for value in values)
    assert at_or_below >= share * len(values) > below - 1e-9 or below == 0
