"""A small share of what ``simulate_runs.py`` simulates, and runs of all shapes."""

import statistics

from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_runs import Outcome, SimulatedRun, Weather, simulate

RUNS = range(80)


def test_no_run_is_late_or_without_a_file_and_under_one_per_cent_of_the_time_is_left_over() -> None:
    outcomes = [simulate(seed, guard=True, alarm=True) for seed in RUNS]
    assert not any(outcome.late or outcome.missed for outcome in outcomes)
    assert statistics.median(outcome.unused for outcome in outcomes) < 0.01


def test_without_guard_and_alarm_no_run_is_late_either_but_images_are_lost() -> None:
    guarded = [simulate(seed, guard=True, alarm=True) for seed in RUNS]
    bare = [simulate(seed, guard=False, alarm=False) for seed in RUNS]
    assert not any(outcome.late for outcome in bare)
    assert sum(o.lost for o in bare) > 3 * sum(o.lost for o in guarded)


@settings(deadline=None, max_examples=60)
@given(
    limit_s=st.floats(20, 3600),
    classes=st.integers(2, 200),
    image_s=st.floats(0.0005, 0.5),
    pack_image_s=st.floats(1e-6, 1e-3),
    guard=st.booleans(),
    alarm=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_no_run_of_any_limit_classes_and_speeds_is_late_and_the_guarded_ones_keep_their_images(
    limit_s: float,
    classes: int,
    image_s: float,
    pack_image_s: float,
    guard: bool,
    alarm: bool,
    seed: int,
) -> None:
    weather = Weather(max(image_s, limit_s / 100_000), pack_image_s)
    outcome = Outcome.of(
        SimulatedRun(
            seed, guard=guard, alarm=alarm, limit_s=limit_s, classes=classes, weather=weather
        ).run()
    )
    assert not outcome.late
    if guard and alarm and not outcome.missed:
        assert outcome.lost < 0.95
