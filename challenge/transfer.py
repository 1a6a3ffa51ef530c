"""Copies between the CPU and the device for which neither waits: through pinned memory."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

LOOK_EVERY_S = 0.0002


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on ``device``; a copy to a GPU takes its turn among the work asked of it.

    From memory that is not pinned it would first wait until all of that work is done.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Arriving:
    """Tensors of one device, on their way to the CPU from the moment this is made."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors, self._copied = list(tensors), None
        device = tensors[0].device
        if device.type == "cuda":
            self._tensors = [
                torch.empty(each.shape, dtype=each.dtype, pin_memory=True) for each in tensors
            ]
            for here, there in zip(self._tensors, tensors, strict=True):
                here.copy_(there, non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(device))

    def wait(self) -> list[Tensor]:
        """The tensors on the CPU, when they are there.

        Looks now and then instead of waiting in the driver, where no alarm and no Ctrl-C reaches:
        a device that hangs can be given up.
        """
        while self._copied is not None and not self._copied.query():  # type: ignore[no-untyped-call]
            time.sleep(LOOK_EVERY_S)
        return self._tensors
