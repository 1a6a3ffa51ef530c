import pytest
import torch
from torch import nn
from torch.nn import functional as F

from challenge.evaluation.layers import Conv, HalvingMean, use_cpu_kernels


@pytest.mark.parametrize("shape", [(2, 128, 8, 8), (3, 5, 6, 4), (1, 2, 5, 5)])
def test_halving_is_average_pooling_and_so_is_its_gradient(shape: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(shape, generator=rng, requires_grad=True)
    halving = HalvingMean()
    use_cpu_kernels(halving)
    ours, theirs = halving(maps), F.avg_pool2d(maps, 2)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn(theirs.shape, generator=rng)
    (our_slope,) = torch.autograd.grad((ours * weight).sum(), maps)
    (their_slope,) = torch.autograd.grad((theirs * weight).sum(), maps)
    torch.testing.assert_close(our_slope, their_slope)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_torchs_with_either_kernels(stride: int) -> None:
    torch.manual_seed(0)
    conv = Conv(3, 16, 3, padding=1, stride=stride)
    maps = torch.randn(4, 3, 8, 8)
    expected = F.conv2d(maps, conv.weight, conv.bias, padding=1, stride=stride)
    assert torch.equal(conv(maps), expected)
    use_cpu_kernels(nn.Sequential(conv))
    found = conv(maps)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous()  # as the norm behind it likes it
