import pytest
from conftest import FakeClock

from challenge.budget import PhaseTimer
from challenge.calibration import Calibration
from challenge.events import (
    BatchFinished,
    DatasetFinished,
    DatasetStarted,
    Event,
    FileWritten,
    PlanMade,
    TrialBatch,
    TrialFile,
)
from challenge.forecast import DatasetCosts, MeasuredCosts
from challenge.planner import CostWatch, Planner
from challenge.settings import GenerateSettings

SETTINGS = GenerateSettings(dataset="cifar100", limit_s=60.0)
WARM_UP: tuple[Event, ...] = (
    TrialBatch("cifar100", 1, 0.5),
    TrialFile("cifar100", 100, 0.2, {"": 0.0, "write": 0.1, "augment": 0.1}),
    TrialFile("cifar100", 1000, 1.0, {"": 0.0, "write": 0.3, "augment": 0.9}),
)
STARTED = DatasetStarted("cifar100", 100, 0.0, 60.0, None)


def batch(size: int, seconds: float, made: int, rejected: int = 0) -> BatchFinished:
    return BatchFinished("cifar100", size, seconds, rejected, made, 0, None, 33.0)


@pytest.fixture
def timer(clock: FakeClock) -> PhaseTimer:
    """A timer that has seen 4 s of imports and then 1 s of disk writing that does not count."""
    timer = PhaseTimer(clock, "import")
    clock.advance(4.0)
    timer.begin("records")
    clock.advance(1.0)
    timer.begin("load")
    return timer


def costs_after(timer: PhaseTimer, *events: Event) -> DatasetCosts:
    watch = CostWatch(timer)
    for event in events:
        watch.see(event)
    costs = watch.costs(["cifar100"])
    assert costs is not None
    return costs.datasets["cifar100"]


def test_nothing_is_known_before_the_warm_up_is_over(timer: PhaseTimer) -> None:
    watch = CostWatch(timer)
    for event in WARM_UP:
        assert watch.costs(["cifar100"]) is None
        watch.see(event)
    watch.see(STARTED)
    assert watch.costs(["cifar100"]) is not None
    assert watch.costs(["cifar100", "tinyimagenet"]) is None


def test_the_warm_up_alone_gives_the_rate_of_one_image_and_the_line_of_files(
    timer: PhaseTimer,
) -> None:
    costs = costs_after(timer, *WARM_UP, STARTED)
    assert costs.images_per_s == 2.0
    assert (costs.batch_size, costs.generate_s) == (None, 0.0)
    assert costs.files == ((100, 0.2), (1000, 1.0))
    assert costs.file_s_per_image == pytest.approx({"write": 0.00025, "augment": 0.00075})


@pytest.mark.parametrize(("trials", "rate"), [([], 2.0), ([(1, 4.0)], 0.25)])
def test_a_data_set_has_the_rate_of_its_own_size_of_image(
    timer: PhaseTimer, trials: list[tuple[int, float]], rate: float
) -> None:
    watch = CostWatch(timer)
    more = [TrialBatch("tinyimagenet", *trial) for trial in trials]
    for event in (*WARM_UP, *more, TrialFile("tinyimagenet", 200, 1.0, {"write": 1.0}), STARTED):
        watch.see(event)
    costs = watch.costs(["cifar100", "tinyimagenet"])
    assert costs is not None
    assert costs.datasets["cifar100"].images_per_s == 2.0
    assert costs.datasets["tinyimagenet"].images_per_s == rate


def test_a_run_cut_off_gives_the_rate_of_the_size_that_most_images_came_in(
    timer: PhaseTimer,
) -> None:
    costs = costs_after(
        timer, *WARM_UP, STARTED,
        batch(8, 1.0, 8), batch(16, 0.5, 24, rejected=1), batch(16, 0.5, 40, rejected=1),
        batch(4, 1.0, 44),
    )  # fmt: skip
    assert costs.batch_size == 16
    assert costs.images_per_s == 30.0  # 30 good ones in 1 s
    assert costs.generate_s == 3.0


def test_a_whole_run_gives_its_mean_rate_and_all_its_files(
    timer: PhaseTimer, clock: FakeClock
) -> None:
    with timer.scope("cifar100"):
        for phase, seconds in (("generate", 30.0), ("write", 4.0), ("augment", 2.0)):
            with timer.phase(phase):
                clock.advance(seconds)
    costs = costs_after(
        timer, *WARM_UP, STARTED,
        batch(8, 1.0, 8), batch(16, 0.5, 24),
        FileWritten("cifar100", 20, 2000, 3.0, final=True),
        DatasetFinished("cifar100", "out", 20, 24, 60.0, "all done"),
    )  # fmt: skip
    assert costs.images_per_s == 33.0  # as the last batch told
    assert costs.files == ((100, 0.2), (2000, 3.0))
    assert costs.file_s_per_image == pytest.approx({"write": 0.002, "augment": 0.001})


def test_shared_seconds_are_those_before_the_first_image_without_what_does_not_count(
    timer: PhaseTimer, clock: FakeClock
) -> None:
    watch = CostWatch(timer)
    clock.advance(6.0)
    for event in (*WARM_UP, STARTED):
        watch.see(event)
    clock.advance(100.0)
    watch.see(DatasetStarted("tinyimagenet", 200, 0.0, 60.0, None))
    costs = watch.costs(["cifar100"])
    assert costs is not None
    assert costs.shared_s == {"import": 4.0, "load": 6.0}


def test_without_a_calibration_the_plan_is_a_guess_just_before_the_first_image(
    timer: PhaseTimer,
) -> None:
    told: list[Event] = []
    planner = Planner(SETTINGS, "float32", 10**12, timer, None, told.append)
    for event in (*WARM_UP, STARTED, STARTED):
        planner.emit(event)
    assert [type(event) for event in told] == [
        TrialBatch, TrialFile, TrialFile, PlanMade, DatasetStarted, DatasetStarted,
    ]  # fmt: skip
    assert planner.plan is not None
    assert not planner.plan.measured
    assert "warm-up" in planner.plan.basis
    assert planner.plan.datasets[0].images_per_s == 2.0


def test_with_a_calibration_the_plan_stands_at_the_start_and_is_not_made_again(
    timer: PhaseTimer,
) -> None:
    costs = MeasuredCosts({"load": 1.0}, {"cifar100": costs_after(timer, *WARM_UP, STARTED)})
    calibration = Calibration({}, "2026-11-21T10:00:00+00:00", "run", {}, costs)
    told: list[Event] = []
    planner = Planner(SETTINGS, "float32", 10**12, timer, calibration, told.append)
    assert isinstance(told[0], PlanMade)
    assert told[0].plan.measured
    assert told[0].plan.basis == "measured here by a run on 2026-11-21 10:00"
    for event in (*WARM_UP, STARTED):
        planner.emit(event)
    assert [type(event) for event in told].count(PlanMade) == 1
