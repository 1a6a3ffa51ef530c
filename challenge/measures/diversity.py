"""How much the images of a set differ from each other, and KID: how far it is from a real one."""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from challenge.seeds import derive_seed

KID_SUBSET, KID_SUBSETS = 1000, 20


def mean_pairwise_distance(features: Float[Tensor, "N F"]) -> float | None:
    """Mean cosine distance of all pairs, in [0, 2]; None for fewer than two images."""
    n = len(features)
    if n < 2:
        return None
    directions = F.normalize(features.double(), dim=1)
    # the sum over all pairs is the square of the sum: no matrix of pairs is needed
    similarity = (directions.sum(0).square().sum() - n) / (n * (n - 1))
    return float(1 - similarity)


def vendi_score(features: Float[Tensor, "N F"]) -> float:
    """The effective number of different images (Friedman & Dieng 2023, arXiv 2210.02410).

    exp of the entropy of the eigenvalues of K / n, K the cosine similarities. The smaller of the
    n x n and the F x F matrix is used: their eigenvalues are the same. It cannot exceed F.
    """
    directions = F.normalize(features.double(), dim=1)
    n, size = directions.shape
    gram = directions @ directions.T if n <= size else directions.T @ directions
    eigenvalues = torch.linalg.eigvalsh(gram / n)
    eigenvalues = eigenvalues[eigenvalues > 1e-12]
    return float(torch.exp(-(eigenvalues * eigenvalues.log()).sum()))


def kernel_distance(
    real: Float[Tensor, "N F"], made: Float[Tensor, "M F"]
) -> tuple[float, float] | None:
    """KID by torchmetrics: mean over random subsets, and their standard deviation.

    The unbiased squared MMD of the cubic kernel (Binkowski et al. 2018, arXiv 1801.01401) on these
    features, not Inception's; equal distributions give 0 on average, and a little below at times.
    Small sets are taken whole, once. None for fewer than two images.
    """
    from torchmetrics.image.kid import KernelInceptionDistance  # 2 s to import

    smaller = min(len(real), len(made))
    if smaller < 2:
        return None
    subset = min(KID_SUBSET, smaller)
    whole = subset == len(real) == len(made)
    with warnings.catch_warnings(action="ignore"):  # that it keeps all features: so do we
        metric = KernelInceptionDistance(
            nn.Identity(), subsets=1 if whole else KID_SUBSETS, subset_size=subset
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed("kid") % 2**32)
        metric.update(real, real=True)
        metric.update(made, real=False)
        mean, std = metric.compute()
    return float(mean), float(std)
