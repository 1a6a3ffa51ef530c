"""Precision, recall, density and coverage: is each set where the other one is?

Kynkäänniemi et al. 2019 (arXiv 1904.06991) and Naeem et al. 2020 (arXiv 2002.09797), in the form of
the latter's public code (package ``prdc``): a ball around each image reaches to its k-th nearest
neighbour in its own set. Distances are made in strips, so memory does not grow with the square.

All but recall are blind to blur, and an average of real images lies in many balls at once: among
pixels it is rewarded (CIFAR-100: density 5.5 for blurred averages, 1.0 for real images), in the
features of the challenge's network it was not. Look at sharpness beside them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NEIGHBOURS = 5
STRIP_DISTANCES = 2**24  # distances in memory at a time: 64 MiB


@dataclass(frozen=True)
class NeighbourMeasures:
    """All in [0, 1] but ``density``, which has no upper end."""

    precision: float  # share of the made images that lie in a real image's ball
    recall: float  # share of the real images that lie in a made image's ball
    density: float  # in how many real balls a made image lies, over k
    coverage: float  # share of the real balls that hold a made image


def neighbour_measures(
    real: Float[Tensor, "N F"], made: Float[Tensor, "M F"], k: int = NEIGHBOURS
) -> NeighbourMeasures | None:
    """None where a set has no k-th neighbour: it must hold more than k images."""
    if min(len(real), len(made)) <= k:
        return None
    real_reach, made_reach = _reach(real, k), _reach(made, k)
    in_real_balls, near_real = [], []
    for strip in _strips(made, real):
        inside = torch.cdist(strip, real) < real_reach
        in_real_balls.append(inside.sum(1))
    recalled = []
    for strip, reach in zip(_strips(real, made), _strips(real_reach, made), strict=True):
        distances = torch.cdist(strip, made)
        recalled.append((distances < made_reach).any(1))
        near_real.append(distances.min(1).values < reach)
    counts = torch.cat(in_real_balls)
    return NeighbourMeasures(
        precision=_mean(counts > 0),
        recall=_mean(torch.cat(recalled)),
        density=_mean(counts) / k,
        coverage=_mean(torch.cat(near_real)),
    )


def lowest_best_similarity(real: Float[Tensor, "N F"], made: Float[Tensor, "M F"]) -> float:
    """How little the made image that is least like the real ones is like the nearest of them.

    Cosine similarity; the representativeness that Minimax Diffusion (arXiv 2311.15529) trains for.
    """
    real, made = _directions(real), _directions(made)
    return float(min((strip @ real.T).max(1).values.min() for strip in _strips(made, real)))


def highest_similarity(made: Float[Tensor, "M F"]) -> float | None:
    """Cosine similarity of the two made images most alike; the same paper's diversity."""
    if len(made) < 2:
        return None
    made = _directions(made)
    highest, start = -1.0, 0
    for strip in _strips(made, made):
        similarity = strip @ made.T
        rows = torch.arange(len(strip), device=made.device)
        similarity[rows, rows + start] = -1.0
        highest = max(highest, float(similarity.max()))
        start += len(strip)
    return highest


def _reach(points: Float[Tensor, "N F"], k: int) -> Float[Tensor, " N"]:
    """Distance of each point to its k-th neighbour; the point itself is the nearest of all."""
    return torch.cat(
        [
            torch.cdist(strip, points).topk(k + 1, largest=False).values[:, -1]
            for strip in _strips(points, points)
        ]
    )


def _strips(rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
    """``rows`` in parts, each of so many that their distances to all ``columns`` fit in memory."""
    return torch.split(rows, max(1, STRIP_DISTANCES // max(1, len(columns))))


def _directions(features: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
    return torch.nn.functional.normalize(features, dim=1)


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
