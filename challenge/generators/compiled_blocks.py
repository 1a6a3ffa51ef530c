"""The UNet's repeated blocks compiled one by one: most of the gain, a fraction of the seconds.

The blocks of one kind and shape share what was compiled. SDXL's UNet has 70 transformer blocks of
two shapes, and 17 residual blocks of some ten; a whole graph of it takes minutes.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Backend = str | Callable[..., Any]  # torch.compile's

BLOCKS = ("BasicTransformerBlock", "ResnetBlock2D")
MOST_SHAPES = 256  # of one kind of block, batch sizes included; torch gives up after 8


def compile_blocks(network: nn.Module, backend: Backend = "inductor") -> int:
    """Have each block compiled in its first call at each batch size; returns how many there are."""
    torch._dynamo.config.recompile_limit = MOST_SHAPES
    blocks = [module for module in network.modules() if type(module).__name__ in BLOCKS]
    for block in blocks:
        block.compile(backend=backend, dynamic=False)
    return len(blocks)
