"""The layers that all networks are made of, with the kernels that are fast on a CPU.

The numbers are the same, the order of the work is another. ``use_cpu_kernels`` switches a network
over; without it a layer is torch's own and can be mapped over several networks by torch.func.vmap.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Conv(nn.Conv2d):
    """A convolution; with the CPU kernels it reads and writes channels last.

    oneDNN reorders channels-first maps inside, at the cost of the work itself: bfloat16 on AMX, 64
    images of 128 x 16 x 16, forward 3.2 against 1.4 ms (2 cores, torch 2.15, 2026-11). ATen's group
    norm is slow on channels last, hence the way back.
    """

    cpu_kernels = False

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K h w"]:
        """Channels first, in and out."""
        if not self.cpu_kernels:
            return super().forward(maps)
        return super().forward(maps.contiguous(memory_format=torch.channels_last)).contiguous()


class HalvingMean(nn.Module):
    """The mean of each 2x2 square; with the CPU kernels a product with a small constant matrix.

    Two rows of a map lie side by side in memory: 2 W numbers in, W / 2 out. ATen's average pooling
    and its gradient took a fifth of a training step.
    """

    cpu_kernels = False

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C _ _"]:
        """Half the height, half the width."""
        if not self.cpu_kernels or maps.shape[-1] % 2 or maps.shape[-2] % 2:
            return F.avg_pool2d(maps, 2)
        b, c, h, w = maps.shape
        halved = F.linear(maps.reshape(-1, 2 * w), _pairs_of_rows(w, maps.dtype))
        return halved.view(b, c, h // 2, w // 2)


@lru_cache
def _pairs_of_rows(width: int, dtype: torch.dtype) -> Float[Tensor, "half row"]:
    """A quarter of each of the four pixels of a square; exact in bfloat16 too."""
    with torch.inference_mode(False):  # it is kept, and may be needed for a gradient later
        columns = torch.eye(width // 2).repeat_interleave(2, dim=1)
        return torch.cat([columns, columns], dim=1).div_(4).to(dtype)


def instance_norm(channels: int) -> nn.GroupNorm:
    """A group a channel: each map of each image is normalised by itself, with weight and bias."""
    return nn.GroupNorm(channels, channels)


def use_cpu_kernels(network: nn.Module) -> None:
    """Have the network's layers take the ways that are fast on a CPU."""
    for module in network.modules():
        if isinstance(module, Conv | HalvingMean):
            module.cpu_kernels = True
