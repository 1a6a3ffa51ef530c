import pytest
from hypothesis import given
from hypothesis import strategies as st

from challenge.file_plan import FilePlan, file_ceiling, plan_file, variants_for
from challenge.settings import AugmentPreset
from challenge.spec import CIFAR100, TINYIMAGENET


def test_without_augmentation_an_incomplete_round_stays_out_of_the_file() -> None:
    assert plan_file([3, 3, 2], None, augment="none").ipc == 2


def test_with_augmentation_an_incomplete_round_is_completed_by_a_variant() -> None:
    plan = plan_file([201, 200], None, augment="upright")
    assert plan.ipc == 201
    assert plan.slots(201)[-1] == (200, 0)
    assert plan.slots(200)[-1] == (0, 1)


def test_few_images_get_four_variants_each_behind_all_the_distinct_ones() -> None:
    plan = plan_file([2, 2], None, augment="upright")
    assert plan.slots(2) == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
        (0, 2),
        (1, 2),
        (0, 3),
        (1, 3),
        (0, 4),
        (1, 4),
    ]


def test_the_images_asked_for_are_all_distinct_when_there_was_time() -> None:
    plan = plan_file([10, 10], 10, augment="upright")
    assert plan.slots(10) == [(base, 0) for base in range(10)]


def test_variants_fill_up_to_what_was_asked_for_when_time_ended_early() -> None:
    assert plan_file([30, 30], 100, augment="upright").ipc == 100
    assert plan_file([30, 30], 100, augment="none").ipc == 30


def test_no_file_before_each_class_has_an_image() -> None:
    assert plan_file([1, 0], None, augment="upright").ipc == 0
    assert plan_file([1, 0], None, augment="none").ipc == 0


@pytest.mark.parametrize(
    ("augment", "few", "many"),
    [("none", 0, 0), ("flip", 1, 0), ("upright", 4, 0), ("strong", 4, 0), ("banko", 4, 4)],
)
def test_many_distinct_images_need_no_variants(augment: AugmentPreset, few: int, many: int) -> None:
    assert [variants_for(ipc, augment) for ipc in (1, 50)] == [few, few]
    assert [variants_for(ipc, augment) for ipc in (51, 2000)] == [many, many]


@given(st.integers(1, 300), st.integers(1, 900))
def test_every_slot_is_another_pair_and_every_image_is_used_before_any_variant(
    bases: int, ipc: int
) -> None:
    slots = FilePlan(ipc).slots(bases)
    assert len(set(slots)) == ipc
    assert {base for base, _ in slots[:bases]} == set(range(min(bases, ipc)))
    assert all(variant == 0 for _, variant in slots[:bases])


def test_the_ceiling_caps_what_variants_multiply_and_then_the_distinct_images() -> None:
    assert plan_file([20, 20], None, augment="upright", most_ipc=70).ipc == 70
    assert plan_file([200, 200], None, augment="upright", most_ipc=70).ipc == 70
    assert plan_file([20, 20], 10, augment="upright", most_ipc=70).ipc == 10


def test_max_file_gib_is_images_of_four_bytes_a_value() -> None:
    ceiling = file_ceiling(TINYIMAGENET, 16.0, free_bytes=10**14)
    assert ceiling.ipc == 16 * 2**30 // (200 * 3 * 64 * 64 * 4)
    assert "--max-file-gib is 16" in ceiling.because


def test_a_small_disk_holds_journal_file_and_the_half_file_before_it() -> None:
    image_bytes = 3 * 32 * 32
    free = int(100 * 100 * image_bytes * 7 / 0.95) + 1
    ceiling = file_ceiling(CIFAR100, 16.0, free_bytes=free)
    assert ceiling.ipc == 100
    assert "the disk has 0.2 GiB free" in ceiling.because
