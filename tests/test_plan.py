from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from challenge.forecast import DatasetCosts, MeasuredCosts
from challenge.plan import RunPlan, make_plan, plan_vs_actual
from challenge.settings import GenerateSettings

# A round of CIFAR-100 takes 1 s. A file of n images takes 0.1 s + 0.9 ms each, at least 1 s, and
# with the files on the way 1 ms each.
CIFAR_COSTS = DatasetCosts(
    images_per_s=100.0,
    generate_s=50.0,
    batch_size=64,
    files=((100, 0.1), (1000, 1.0)),
    file_s_per_image={"write": 0.0005, "augment": 0.0005},
)
COSTS = MeasuredCosts(
    shared_s={"import": 4.0, "load": 6.0},
    datasets={"cifar100": CIFAR_COSTS, "tinyimagenet": replace(CIFAR_COSTS, batch_size=16)},
)


def plan_of(
    costs: MeasuredCosts = COSTS, *, free_bytes: int = 10**13, **changes: object
) -> RunPlan:
    given_settings: dict[str, object] = {"dataset": "cifar100", "augment": "none", **changes}
    settings = GenerateSettings(**given_settings)  # type: ignore[arg-type]
    return make_plan(settings, costs, "float32", free_bytes, measured=True, basis="a test")


def test_the_generation_clock_leaves_loading_out_of_the_limit() -> None:
    after_loading = plan_of(limit_s=50.0, clock="generation").datasets[0]
    assert after_loading == plan_of(limit_s=60.0, clock="process").datasets[0]


def test_too_short_a_limit_is_a_problem_with_numbers_and_a_way_out() -> None:
    # a round 1 s, reserve 0.75 + 1.5 s, loading 10 s
    plan = plan_of(limit_s=12.0)
    assert plan.datasets[0].images == 0
    [problem] = plan.problems
    assert "CIFAR-100 has 12.0 s" in problem
    assert "needs about 13.2 s (10.0 s before the first image, 3.2 s for the images" in problem
    assert "raise --limit-s by 2 s" in problem
    assert plan_of(limit_s=14.0).problems == ()


def test_each_covers_a_whole_limit_and_all_is_shared() -> None:
    each = plan_of(dataset="all", limit_s=60.0, limit_covers="each").datasets
    both = plan_of(dataset="all", limit_s=60.0, limit_covers="all").datasets
    unloaded = plan_of(replace(COSTS, shared_s={}), dataset="all", limit_s=60.0).datasets
    assert each[1].images == pytest.approx(unloaded[1].images, abs=2)
    assert each[0].images < unloaded[0].images
    assert each[1].seconds <= 60
    assert both[0].seconds + 10 <= 30  # loading is charged to the first
    assert 10 + both[0].seconds + both[1].seconds <= 60
    assert both[1].images > 0


def test_with_one_limit_for_both_the_shortfall_counts_for_each() -> None:
    plan = plan_of(dataset="all", limit_s=25.0, limit_covers="all")  # 12.5 s for the first
    assert "raise --limit-s by 2 s" in plan.problems[0]  # 2 * 0.75 s
    assert plan_of(dataset="all", limit_s=27.0, limit_covers="all").problems == ()


IMAGE_BYTES = 3 * 32 * 32


def test_a_count_that_no_file_can_hold_is_a_problem() -> None:
    gib = 30 * 100 * IMAGE_BYTES * 4 / 2**30  # 30 images a class
    assert plan_of(limit_s=60.0, max_file_gib=gib, ipc=30).problems == ()
    [problem] = plan_of(limit_s=60.0, max_file_gib=gib, ipc=31).problems
    assert "a file of 31 images a class of CIFAR-100 has no room" in problem
    assert "there is some for 30, since --max-file-gib" in problem


def test_the_disk_is_a_ceiling_too_and_the_second_set_has_what_the_first_leaves() -> None:
    one_a_class = 100 * IMAGE_BYTES * (1 + 4 + 2) / 0.95  # journal, file, and half a file
    plan = plan_of(limit_s=60.0, free_bytes=int(10.5 * one_a_class))
    assert (plan.datasets[0].images, plan.problems) == (1000, ())
    [problem] = plan_of(limit_s=60.0, free_bytes=int(0.5 * one_a_class)).problems
    assert "a file of 1 images a class of CIFAR-100 has no room" in problem
    # half of it is the first's: 40 a class, which take 5/7 of it; Tiny-ImageNet's are 8 times as
    # large, and 0.95 * (80.4 - 40 * 5 * 0.95 / 7) / 8 = 6.3 a class
    both = plan_of(dataset="all", limit_s=600.0, free_bytes=int(80.4 * one_a_class)).datasets
    assert both[0].ipc == 40
    assert both[1].ipc == int((80.4 - 40 * 5 * 0.95 / 7) / 8)


def test_choices_are_told_with_reasons() -> None:
    free = {choice.name: choice for choice in plan_of(dataset="all").choices}
    fixed = {
        choice.name: choice
        for choice in plan_of(batch_size=4, dtype="bfloat16", augment="none").choices
    }
    assert free["batch size"].value == "64, 16"
    assert fixed["batch size"].reason == "--batch-size"
    assert (fixed["dtype"].value, fixed["dtype"].reason) == ("float32", "--dtype")
    assert fixed["variants"].reason == "--augment none"
    assert free["limit"].value == "600 s each"


def test_an_unknown_batch_size_is_said_to_be_found_while_running() -> None:
    unknown = replace(COSTS, datasets={"cifar100": replace(CIFAR_COSTS, batch_size=None)})
    choice = plan_of(unknown).choices[0]
    assert (choice.name, choice.value) == ("batch size", "auto")


def test_with_a_count_the_batch_size_is_part_of_the_plan() -> None:
    choice = plan_of(ipc=5).choices[0]
    assert (choice.name, choice.value) == ("batch size", "64")
    assert "--ipc" in choice.reason


def test_variants_are_those_that_the_file_has_room_for() -> None:
    choices = {choice.name: choice for choice in plan_of(limit_s=20.0, augment="upright").choices}
    capped = {
        choice.name: choice for choice in plan_of(limit_s=60.0, augment="upright", ipc=9).choices
    }
    assert choices["variants"].value == "4"
    assert capped["variants"].value == "0"


@given(
    limit_s=st.floats(1.0, 5000.0),
    rate=st.floats(0.01, 5000.0),
    file_s=st.floats(0.001, 30.0),
    loading_s=st.floats(0.0, 200.0),
    augment=st.sampled_from(["none", "upright"]),
    covers=st.sampled_from(["each", "all"]),
    clock=st.sampled_from(["process", "generation"]),
)
def test_a_plan_without_problems_ends_before_its_limit(
    limit_s: float,
    rate: float,
    file_s: float,
    loading_s: float,
    augment: str,
    covers: str,
    clock: str,
) -> None:
    one = replace(CIFAR_COSTS, images_per_s=rate, files=((100, file_s / 5), (1000, file_s)))
    costs = MeasuredCosts({"load": loading_s}, {"cifar100": one, "tinyimagenet": one})
    plan = plan_of(
        costs, dataset="all", limit_s=limit_s, augment=augment, limit_covers=covers, clock=clock
    )
    before_s = loading_s if clock == "process" else 0.0
    first_s, second_s = (each.seconds for each in plan.datasets)
    if not plan.problems:
        assert all(each.images > 0 and each.ipc > 0 for each in plan.datasets)
        if covers == "each":
            assert max(before_s + first_s, second_s) <= limit_s
        else:
            assert before_s + first_s + second_s <= limit_s
    assert len(plan.problems) == [each.images for each in plan.datasets].count(0)


def test_planned_stands_beside_actual_phase_by_phase() -> None:
    plan = plan_of(limit_s=60.0)
    beside = plan_vs_actual(
        plan,
        {"import": 4.5, "load": 6.0, "warm_up": 1.0, "records": 3.0},
        {"cifar100": {"generated": 4100, "ipc": 41, "phases_s": {"generate": 43.0, "fsync": 0.5}}},
    )
    assert beside["phases_s"]["import"] == {"planned_s": 4.0, "actual_s": 4.5}
    assert beside["phases_s"]["warm_up"] == {"planned_s": None, "actual_s": 1.0}
    assert "records" not in beside["phases_s"]
    entry = beside["datasets"]["cifar100"]
    assert entry["images"] == {"planned": 4296, "made": 4100}
    assert entry["ipc"] == {"planned": 42, "made": 41}
    assert entry["phases_s"]["fsync"] == {"planned_s": None, "actual_s": 0.5}
    assert entry["phases_s"]["write"]["actual_s"] is None


def test_a_data_set_that_was_not_reached_has_nothing_beside_its_plan() -> None:
    beside = plan_vs_actual(plan_of(limit_s=60.0), {}, {})
    assert beside["datasets"]["cifar100"]["images"] == {"planned": 4296, "made": None}
