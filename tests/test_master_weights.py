import copy

import pytest
import torch
from torch import nn

from challenge.embedded_training.master_weights import MasterWeights, learning_rate_factor


def trained(steps: int) -> MasterWeights:
    torch.manual_seed(0)
    weights = MasterWeights(nn.Conv2d(2, 3, 3, padding=1), 1e-3)
    continue_training(weights, steps)
    return weights


def continue_training(weights: MasterWeights, steps: int) -> None:
    rng = torch.Generator().manual_seed(1)
    for _ in range(steps):
        maps = torch.randn(4, 2, 8, 8, generator=rng).to(torch.bfloat16)
        weights.working(maps).float().square().mean().backward()
        weights.step(1.0)


def test_steps_too_small_for_bfloat16_add_up_in_the_masters() -> None:
    torch.manual_seed(0)
    weights = MasterWeights(nn.Linear(1, 1, bias=False), 1e-4)
    nn.init.constant_(weights.master.get_parameter("weight"), 1.0)
    weights.load_state(weights.state())
    for _ in range(100):
        weights.working(torch.ones(1, 1, dtype=torch.bfloat16)).sum().backward()
        weights.step(1.0)
    assert weights.master.get_parameter("weight").item() == pytest.approx(0.99, abs=1e-3)
    assert weights.working.get_parameter("weight").item() == pytest.approx(0.99, abs=4e-3)


def test_the_working_copy_is_the_master_rounded() -> None:
    weights = trained(3)
    for name, master in weights.master.named_parameters():
        working = weights.working.get_parameter(name)
        assert working.dtype == torch.bfloat16
        assert torch.equal(working, master.to(torch.bfloat16))


def test_a_saved_state_goes_on_as_if_nothing_had_happened() -> None:
    first = trained(3)
    second = trained(0)
    second.load_state(copy.deepcopy(first.state()))
    for weights in (first, second):
        continue_training(weights, 2)
    for name, tensor in first.master.state_dict().items():
        assert torch.equal(tensor, second.master.state_dict()[name])


def test_the_learning_rate_rises_stays_and_falls_to_a_twentieth() -> None:
    factors = [learning_rate_factor(step, 1000, flat_share=0.75) for step in range(1000)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[100:750] == [1.0] * 650
    assert factors[875] == pytest.approx(0.5)
    assert factors[-1] == pytest.approx(0.05)
