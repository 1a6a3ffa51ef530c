import numpy as np
import pytest
import torch

from challenge.measures.diversity import kernel_distance, mean_pairwise_distance, vendi_score


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.RandomState(0)
    real = rng.randn(60, 4)
    made = rng.randn(50, 4) * 0.7 + 0.8
    return torch.from_numpy(real), torch.from_numpy(made)


def test_the_vendi_score_equals_the_public_code() -> None:
    made = drawn()[1]
    # package vendi-score 0.0.3, score_X(made, normalize=True)
    assert vendi_score(made) == pytest.approx(3.0308743411)


def test_the_vendi_score_counts_different_images() -> None:
    different = torch.eye(6)
    assert vendi_score(different) == pytest.approx(6.0)
    assert vendi_score(different.repeat(3, 1)) == pytest.approx(6.0)
    assert vendi_score(torch.ones(5, 3)) == pytest.approx(1.0)


def test_the_mean_distance_is_that_of_all_pairs() -> None:
    made = drawn()[1]
    cosine = torch.nn.functional.cosine_similarity(made[:, None], made[None], dim=2)
    pairs = cosine[torch.triu(torch.ones_like(cosine), diagonal=1) > 0]
    assert mean_pairwise_distance(made) == pytest.approx(float((1 - pairs).mean()))
    assert mean_pairwise_distance(made[:1]) is None


def test_kid_is_the_unbiased_cubic_mmd() -> None:
    real, made = drawn()
    found = kernel_distance(real[:50], made)
    assert found is not None
    # by the definition, in NumPy on these numbers: (x . y / 4 + 1)^3, no diagonal, whole sets
    assert found[0] == pytest.approx(1.7697694246)
    assert kernel_distance(real[:1], made) is None


def test_kid_of_subsets_leaves_the_global_rng_alone_and_repeats_itself() -> None:
    real, made = drawn()
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, second = kernel_distance(real, made), kernel_distance(real, made)
    assert first == second
    assert first is not None
    assert first[1] > 0
    assert torch.equal(torch.random.get_rng_state(), before)
