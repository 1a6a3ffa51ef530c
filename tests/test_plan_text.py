from dataclasses import replace

from challenge.forecast import DatasetPlan
from challenge.plan import RunPlan, plan_vs_actual
from challenge.plan_text import (
    PLAN_HEADINGS,
    RESULT_HEADINGS,
    plan_lines,
    plan_phases,
    plan_rows,
    rate,
    result_phases,
    result_rows,
)

CIFAR = DatasetPlan(
    dataset="cifar100",
    phases_s={"generate": 40.0, "write": 2.5, "fsync": 0.01},
    reserve_s=6.5,
    images=4296,
    images_per_s=107.4,
    ipc=42,
    file_bytes=1,
    journal_bytes=1,
)
PLAN = RunPlan(True, "measured by a test", {"import": 4.0, "load": 6.0}, (CIFAR,), (), ())
PHASES_S = {"import": 5.0, "load": 6.5, "warm_up": 0.5, "records": 9.0}
ENTRY = {"generated": 4100, "ipc": 41, "phases_s": {"generate": 41.0, "write": 2.0}}
RECORD = {
    "phases_s": PHASES_S,
    "datasets": {"cifar100": ENTRY},
    "plan_vs_actual": plan_vs_actual(PLAN, PHASES_S, {"cifar100": ENTRY}),
}


def test_the_plan_fits_into_80_columns_with_the_time_in_front() -> None:
    lines = plan_lines(PLAN)
    assert "10.0 s before the first image" in lines[0]
    assert "CIFAR-100: about 4,296 images at 107/s, 42 a class" in lines[1]
    assert "generate 40.0, write 2.5" in lines[2]
    assert "measured by a test" in lines[-1]
    assert max(len(line) for line in lines) <= 80 - 11


def test_a_guess_is_called_one() -> None:
    guess = RunPlan(False, "the warm-up", {}, (CIFAR,), (), ())
    assert "a guess" in plan_lines(guess)[0]
    assert "a guess" not in " ".join(plan_lines(PLAN))


def test_the_plan_s_table_has_a_row_for_what_is_shared_and_for_each_set() -> None:
    shared, cifar = plan_rows(PLAN)
    assert shared == ("before the images", "10.0", "", "", "", "")
    assert cifar == ("CIFAR-100", "42.5", "6.5", "4,296", "107", "42")
    assert len(cifar) == len(PLAN_HEADINGS)


def test_the_plan_s_phases_are_told_but_those_of_hardly_any_time() -> None:
    assert plan_phases(PLAN) == [
        "before the images: import 4.0, load 6.0",
        "CIFAR-100: generate 40.0, write 2.5",
    ]
    none = replace(CIFAR, images=0, ipc=0, phases_s={"generate": 0.0}, reserve_s=0.0)
    assert len(plan_phases(replace(PLAN, datasets=(none,)))) == 1


def test_planned_stands_beside_actual_in_a_result() -> None:
    shared, cifar = result_rows(RECORD)
    assert shared == ("before the images", "10.0", "12.0", "", "")  # the record's time is after
    assert cifar == ("CIFAR-100", "42.5", "43.0", "4,296", "4,100")
    assert len(cifar) == len(RESULT_HEADINGS)
    assert result_phases(RECORD) == [
        "before the images: import 5.0 (planned 4.0), load 6.5 (planned 6.0), warm_up 0.5",
        "CIFAR-100: generate 41.0 (planned 40.0), write 2.0 (planned 2.5)",
    ]


def test_a_result_without_a_plan_leaves_its_columns_empty() -> None:
    unplanned = RECORD | {"plan_vs_actual": None}
    shared, cifar = result_rows(unplanned)
    assert shared == ("before the images", "", "12.0", "", "")
    assert cifar == ("CIFAR-100", "", "43.0", "", "4,100")
    assert result_phases(unplanned)[1] == "CIFAR-100: generate 41.0, write 2.0"


def test_a_rate_is_never_written_with_an_exponent() -> None:
    rates = (4.3812, 25.64, 106.4, 5853.2)
    assert [rate(each) for each in rates] == ["4.38", "25.6", "106", "5,853"]
