"""Seeds: one for each place in a run, always the same."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from challenge.seeds import derive_seed

NAMES = st.text(st.characters(categories=["L", "N", "P"]), max_size=20)
PLACES = st.lists(st.integers() | NAMES, max_size=5)


def test_a_seed_stays_what_it_was_in_older_runs() -> None:
    # printf "('cifar100', 0, 7)" | b2sum -l 64  ->  4c48ea2c4ca97920
    assert derive_seed("cifar100", 0, 7) == 0x4C48EA2C4CA97920 >> 1


@given(PLACES)
def test_a_seed_fits_into_63_bits(place: list[int | str]) -> None:
    assert 0 <= derive_seed(*place) < 2**63


@given(PLACES, PLACES)
def test_different_places_have_different_seeds(a: list[int | str], b: list[int | str]) -> None:
    assert (derive_seed(*a) == derive_seed(*b)) == (a == b)


def test_order_type_and_borders_of_the_parts_count() -> None:
    places: list[tuple[int | str, ...]] = [
        (1, 23), (12, 3), (123,), (23, 1), ("1", 23), ("123",), ("1", "23"), (-1, 23), (), ("",),
    ]  # fmt: skip
    assert len({derive_seed(*place) for place in places}) == len(places)


def test_no_two_images_of_a_large_run_share_a_seed() -> None:
    images = product(["cifar100", "tinyimagenet"], range(200), range(100), range(2))
    seeds = [derive_seed(0, *image) for image in images]
    assert len(set(seeds)) == len(seeds) == 80_000
    # both halves of the bits are spread: the mean of uniform numbers, 5 standard deviations
    assert abs(sum(seeds) / len(seeds) / 2**63 - 0.5) < 0.0052
    assert abs(sum(seed % 2**32 for seed in seeds) / len(seeds) / 2**32 - 0.5) < 0.0052
