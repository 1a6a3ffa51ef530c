"""Whether a batch of twice the size fits into a GPU, told from what this one took.

Running out of memory is mended (the batch is halved), but it costs a batch, and on a GPU that
others use as well it may hit them instead.
"""

from collections.abc import Callable

import torch

SAFE_SHARE = 0.9  # of what is free; the rest goes to fragments and to what libraries take


def room_for_twice(device: torch.device) -> Callable[[], bool]:
    """Ask it after a batch. From now on the peak of ``device`` is watched; a CPU has room."""
    if device.type != "cuda":
        return lambda: True
    torch.cuda.reset_peak_memory_stats(device)

    def has_room() -> bool:
        held = torch.cuda.memory_allocated(device)
        batch = torch.cuda.max_memory_allocated(device) - held
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - held  # torch's own, to be used again
        return 2 * batch <= SAFE_SHARE * (free + unused)

    return has_room
