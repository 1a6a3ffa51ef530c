"""What SDXL-Turbo takes of a GPU's memory, computed from its public configs: nothing is measured.

    PYTHONPATH=. python tests/measure_memory.py

The networks are built of tensors that have a shape and no memory, on a GPU that need not be there,
and called once; every tensor that is made counts from its birth to its death. What is not counted:
the CUDA context (half a GiB), workspaces of the libraries, what the allocator loses in fragments.
"""

import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from challenge.generators.public_configs import CLIP_BIG_G, CLIP_L, SDXL_TURBO

GIB = 2**30
SIDE = 64  # of the latents of a 512 px image


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that are born here and alive, and their peak."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def peak_gib(build: Callable[[], nn.Module], call: Callable[[Any], object]) -> tuple[float, float]:
    """GiB of a network's weights, and of what one call adds to them at its peak."""
    with FakeTensorMode(), torch.device("cuda"), torch.no_grad():
        network = build().eval()
        weights = sum(parameter.nbytes for parameter in network.parameters())
        with LiveBytes([*network.parameters(), *network.buffers()]) as live:
            call(network)
    return weights / GIB, live.peak / GIB


def call_unet(unet: UNet2DConditionModel, batch: int) -> None:
    conditioning = {"text_embeds": torch.empty(batch, 1280), "time_ids": torch.empty(batch, 6)}
    unet(
        torch.empty(batch, 4, SIDE, SIDE),
        torch.empty((), dtype=torch.float32),
        encoder_hidden_states=torch.empty(batch, 77, 2048),
        added_cond_kwargs=conditioning,
    )


def call_text_encoder(encoder: nn.Module) -> None:
    encoder(torch.zeros(32, 77, dtype=torch.long))


def call_vae(vae: AutoencoderKL, batch: int) -> None:
    vae.decode(torch.empty(batch, 4, SIDE, SIDE))


def rows() -> Iterator[tuple[str, float, float]]:
    """Part and batch, GiB of its weights, GiB that a call adds."""
    for config, kind in ((CLIP_L, CLIPTextModel), (CLIP_BIG_G, CLIPTextModelWithProjection)):
        build = partial(kind, CLIPTextConfig(**config))
        yield f"{kind.__name__}, 32 prompts", *peak_gib(build, call_text_encoder)
    build = partial(UNet2DConditionModel, **SDXL_TURBO.unet)
    for batch in (1, 8, 16, 32, 64, 128, 256):
        yield f"UNet, batch of {batch}", *peak_gib(build, partial(call_unet, batch=batch))
    build = partial(AutoencoderKL, **SDXL_TURBO.vae)
    for batch in (1, 2, 8):
        yield f"VAE decoder, batch of {batch}", *peak_gib(build, partial(call_vae, batch=batch))


def main() -> None:
    """Print the table."""
    torch.set_default_dtype(torch.float16)
    for what, weights, more in rows():
        sys.stdout.write(f"| {what} | {weights:.2f} | {more:.2f} | {weights + more:.2f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
