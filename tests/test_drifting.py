import pytest
import torch
from torch import Tensor

from challenge.embedded_training.drifting import drift_target, drifting_loss


def drifted(made: Tensor, real: Tensor) -> Tensor:
    target, scale = drift_target(made, real)
    return target * scale


def cloud(centre: list[float], count: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.tensor(centre) + 0.5 * torch.randn(count, 2, generator=rng)


def test_a_cloud_of_samples_goes_towards_the_real_one_beside_it() -> None:
    made, real = cloud([0.0, 0.0], 12, seed=0), cloud([2.0, 0.0], 30, seed=1)
    way = (drifted(made[None], real[None])[0] - made).mean(0)
    assert way[0] > 0.1
    assert way[1].abs() < way[0] / 3


def test_samples_on_one_spot_between_two_real_ones_are_driven_apart() -> None:
    made = torch.tensor([[[-0.1, 0.0], [0.1, 0.0]]])
    real = torch.tensor([[[-3.0, 0.0], [3.0, 0.0]]])
    left, right = drifted(made, real)[0, :, 0].tolist()
    assert left < -0.2
    assert right > 0.2


def test_groups_know_nothing_of_each_other_but_their_common_scale() -> None:
    made = torch.tensor([[[0.0], [1.0]], [[0.0], [1.0]]])
    real = torch.tensor([[[2.0], [3.0]], [[-2.0], [-1.0]]])
    way = drifted(made, real) - made
    assert way[0].mean() > 0
    assert way[1].mean() < 0


def test_the_loss_does_not_depend_on_the_unit_of_the_features() -> None:
    rng = torch.Generator().manual_seed(0)
    made = torch.randn(3, 5, 4, generator=rng)
    real = torch.randn(3, 9, 4, generator=rng)
    assert drifting_loss(made, real) == pytest.approx(
        float(drifting_loss(100 * made, 100 * real)), rel=1e-3
    )


def test_following_the_gradient_brings_samples_to_both_of_two_far_clusters() -> None:
    rng = torch.Generator().manual_seed(0)
    centres = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
    real = centres.repeat_interleave(20, 0) + 0.3 * torch.randn(40, 2, generator=rng)
    made = 0.5 * torch.randn(16, 2, generator=rng)
    made.requires_grad_(True)
    optimizer = torch.optim.Adam([made], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        drifting_loss(made[None], real[None]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    nearest = torch.cdist(made.detach(), centres)
    assert nearest.min(dim=1).values.max() < 3  # the step never gets smaller
    assert 4 <= int((nearest.argmin(dim=1) == 0).sum()) <= 12
