import pytest
from hypothesis import given
from hypothesis import strategies as st

from challenge.file_plan import FileCeiling
from challenge.forecast import DatasetCosts, DatasetPlan, Forecast
from challenge.settings import AugmentPreset, GenerateSettings
from challenge.spec import CIFAR100

# A round of CIFAR-100 takes 1 s. A file of n images takes 0.1 s + 0.9 ms each, at least 1 s, and
# with the files on the way 1 ms each.
COSTS = DatasetCosts(
    images_per_s=100.0,
    generate_s=50.0,
    batch_size=64,
    files=((100, 0.1), (1000, 1.0)),
    file_s_per_image={"write": 0.0005, "augment": 0.0005},
)


def forecast(
    available_s: float,
    *,
    ipc: int | None = None,
    augment: AugmentPreset = "none",
    most: int = 10**9,
) -> DatasetPlan:
    settings = GenerateSettings(ipc="auto" if ipc is None else ipc, augment=augment)
    return Forecast(settings, CIFAR100, COSTS, FileCeiling(most, "a test")).plan(available_s)


def test_all_rounds_that_fit_beside_the_reserve_are_planned_and_a_part_of_the_next() -> None:
    # 42 rounds: 42 s, file 3.88 s, on the way 4.2 - 3.88 s, reserve 0.75 + 1.5 * 3.88 s: 48.89 s in
    # all. 43 rounds: 50.035 s. Left for images of the 43rd: 50 - 42 - 7.035 s
    plan = forecast(50.0)
    assert plan.images == 4296
    assert plan.ipc == 42
    assert plan.reserve_s == pytest.approx(6.57)
    assert plan.phases_s == pytest.approx({"generate": 42.96, "write": 2.1, "augment": 2.1})
    assert plan.seconds == pytest.approx(47.16)
    assert plan.file_bytes == 4200 * 3 * 32 * 32 * 4
    assert plan.journal_bytes == 4296 * 3 * 32 * 32


def test_a_count_that_is_asked_for_is_planned_and_no_more() -> None:
    plan = forecast(50.0, ipc=10)
    assert (plan.images, plan.ipc) == (1000, 10)
    assert plan.phases_s["generate"] == pytest.approx(10.0)


def test_no_more_is_planned_than_a_file_may_hold() -> None:
    plan = forecast(50.0, most=30)
    assert (plan.images, plan.ipc) == (3000, 30)
    assert forecast(50.0, most=30, ipc=31).images == 3000


def test_a_long_run_follows_the_same_rule() -> None:
    # r rounds: r + (0.01 r - 0.1) + 0.75 + 1.5 (0.1 + 0.09 r) s = 1.145 r + 0.8 s
    assert forecast(10_000.0).images // 100 == int((10_000 - 0.8) / 1.145)


def test_with_augmentation_an_incomplete_round_and_variants_are_in_the_file() -> None:
    few, many = forecast(20.0, augment="upright"), forecast(290.0, augment="upright")
    distinct = -(-few.images // 100)
    assert few.ipc == 5 * distinct
    assert many.ipc == -(-many.images // 100) > 100


def test_without_time_for_a_round_and_its_file_there_is_no_image() -> None:
    plan = forecast(3.24)  # a round 1 s, the reserve 0.75 + 1.5 s
    assert (plan.images, plan.ipc, plan.file_bytes, plan.reserve_s) == (0, 0, 0, 0.0)
    assert forecast(3.26).images >= 100


@given(
    short_s=st.floats(0.0, 400.0),
    more_s=st.floats(0.0, 400.0),
    augment=st.sampled_from(["none", "upright"]),
)
def test_more_time_never_means_fewer_images_and_all_ends_in_time(
    short_s: float, more_s: float, augment: AugmentPreset
) -> None:
    short, long = forecast(short_s, augment=augment), forecast(short_s + more_s, augment=augment)
    assert short.images <= long.images
    assert short.seconds <= short_s
    assert long.seconds <= short_s + more_s
