import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from challenge.errors import JournalError
from challenge.rounds import BalancedRounds, ImageRequest
from challenge.seeds import derive_seed


def test_requests_go_round_the_classes_and_carry_the_documented_seed() -> None:
    rounds = BalancedRounds("cifar100", 3, run_seed=7)
    batch = rounds.take(4)
    assert [(r.class_index, r.round_index, r.attempt) for r in batch] == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 0, 0),
        (0, 1, 0),
    ]
    assert batch[3].seed == derive_seed(7, "cifar100", 0, 1, 0)


def test_a_rejected_image_is_asked_for_again_first_with_another_seed() -> None:
    rounds = BalancedRounds("cifar100", 3, run_seed=0)
    first = rounds.take(3)
    rounds.accept(first[:2])
    rounds.reject(first[2:])
    again = rounds.take(2)
    assert (again[0].class_index, again[0].round_index, again[0].attempt) == (2, 0, 1)
    assert again[0].seed != first[2].seed
    assert (again[1].class_index, again[1].round_index) == (0, 1)
    assert rounds.counts == [1, 1, 0]


def test_a_batch_given_back_is_dealt_out_again_unchanged() -> None:
    rounds = BalancedRounds("cifar100", 3, run_seed=0)
    batch = rounds.take(4)
    rounds.give_back(batch)
    assert rounds.take(2) + rounds.take(2) == batch


def test_rounds_end_when_the_images_asked_for_are_dealt_out() -> None:
    rounds = BalancedRounds("cifar100", 3, run_seed=0, rounds=1)
    assert len(rounds.take(5)) == 3
    assert rounds.take(5) == []


@given(
    classes=st.integers(1, 20),
    sizes=st.lists(st.integers(1, 30), max_size=20),
    reject=st.floats(0, 0.5),
    seed=st.integers(),
)
def test_every_place_is_made_once_whatever_the_batches_and_rejections(
    classes: int, sizes: list[int], reject: float, seed: int
) -> None:
    rng = random.Random(seed)
    rounds = BalancedRounds("cifar100", classes, run_seed=0)
    accepted: list[ImageRequest] = []
    for size in sizes:
        batch = rounds.take(size)
        bad = [request for request in batch if rng.random() < reject]
        good = [request for request in batch if request not in bad]
        rounds.accept(good)
        rounds.reject(bad)
        accepted += good
    places = [(request.class_index, request.round_index) for request in accepted]
    assert len(set(places)) == len(places)
    assert sum(rounds.counts) == len(accepted)


def test_places_made_by_a_replayed_batch_are_not_dealt_out_again() -> None:
    rounds = BalancedRounds("cifar100", 3, run_seed=0)
    rounds.replay(accepted=[(0, 0, 0), (2, 0, 0)], rejected=[(1, 0, 0)])
    assert rounds.counts == [1, 0, 1]
    assert [request.place for request in rounds.take(2)] == [(1, 0, 1), (0, 1, 0)]


def test_a_batch_that_was_never_dealt_out_is_not_replayed() -> None:
    rounds = BalancedRounds("cifar100", 3, run_seed=0)
    with pytest.raises(JournalError, match=r"\(2, 7, 0\), is not one that this run would"):
        rounds.replay(accepted=[(2, 7, 0)], rejected=[])


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    cut=st.integers(0, 12),
    reject=st.floats(0, 0.5),
    seed=st.integers(),
)
def test_after_a_replay_the_rest_is_dealt_out_as_if_nothing_had_happened(
    sizes: list[int], cut: int, reject: float, seed: int
) -> None:
    rng = random.Random(seed)
    whole, resumed = (BalancedRounds("cifar100", 4, run_seed=0) for _ in range(2))
    for number, size in enumerate(sizes):
        batch = whole.take(size)
        bad = [request for request in batch if rng.random() < reject]
        good = [request for request in batch if request not in bad]
        whole.accept(good)
        whole.reject(bad)
        if number < cut:
            resumed.replay([r.place for r in good], [r.place for r in bad])
        else:
            assert resumed.take(size) == batch
            resumed.accept(good)
            resumed.reject(bad)
    assert resumed.counts == whole.counts
    assert resumed.take(5) == whole.take(5)


def test_a_look_ahead_deals_nothing_out() -> None:
    rounds = BalancedRounds("cifar100", 3, 0, rounds=2)
    rounds.reject(rounds.take(2)[:1])
    seen = rounds.peek(4)
    assert [request.place for request in seen] == [(0, 0, 1), (2, 0, 0), (0, 1, 0), (1, 1, 0)]
    assert rounds.peek(4) == seen == rounds.take(4)
    assert len(rounds.peek(4)) == 1
