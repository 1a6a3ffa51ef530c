import numpy as np
import pytest
import torch
from torch import Tensor

from challenge.measures import neighbours
from challenge.measures.neighbours import (
    highest_similarity,
    lowest_best_similarity,
    neighbour_measures,
)


def drawn() -> tuple[Tensor, Tensor]:
    rng = np.random.RandomState(0)
    real = rng.randn(60, 4)
    made = rng.randn(50, 4) * 0.7 + 0.8
    return torch.from_numpy(real), torch.from_numpy(made)


@pytest.fixture(params=[2**24, 60 * 7], ids=["at once", "in strips"])
def strip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "STRIP_DISTANCES", request.param)


@pytest.mark.usefixtures("strip")
def test_the_four_measures_equal_the_public_code() -> None:
    found = neighbour_measures(*drawn())
    assert found is not None
    # package prdc 0.2, compute_prdc(real, made, nearest_k=5) on these numbers
    assert found.precision == 1.0
    assert found.recall == pytest.approx(0.65)
    assert found.density == pytest.approx(1.396)
    assert found.coverage == pytest.approx(0.6833333)


@pytest.mark.usefixtures("strip")
def test_similarities_equal_those_of_the_whole_matrix() -> None:
    real, made = drawn()
    cosine = torch.nn.functional.cosine_similarity
    across = cosine(made[:, None], real[None], dim=2)
    among = cosine(made[:, None], made[None], dim=2) - 2 * torch.eye(len(made))
    assert lowest_best_similarity(real, made) == pytest.approx(float(across.amax(1).min()))
    assert highest_similarity(made) == pytest.approx(float(among.max()))


def test_a_set_far_away_has_neither_precision_nor_coverage() -> None:
    real, made = drawn()
    found = neighbour_measures(real, made + 100)
    assert found is not None
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)


def test_too_few_images_have_no_fifth_neighbour() -> None:
    real, made = drawn()
    assert neighbour_measures(real[:5], made) is None
    assert neighbour_measures(real, made[:6]) is not None
    assert highest_similarity(made[:1]) is None
