import pytest
import torch

from challenge.evaluation import dsa
from challenge.evaluation.plain import augment_plainly
from challenge.spec import DSA_STRATEGIES


@pytest.mark.parametrize("strategy", DSA_STRATEGIES)
def test_augments_as_the_fast_way_does_with_the_same_numbers(strategy: str) -> None:
    images = torch.randn(9, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    fast, plain = (torch.Generator().manual_seed(4) for _ in range(2))
    expected = dsa.apply_strategy(strategy, images, fast)
    torch.testing.assert_close(augment_plainly(strategy, images, plain), expected)
    assert torch.equal(fast.get_state(), plain.get_state())
