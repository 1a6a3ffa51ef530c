"""What NVML tells of a GPU: energy used, power limit, and who else computes on it.

NVML comes with the driver; Python reads it through the package nvidia-ml-py (optional: ``pip
install 'challenge[gpu]'``). Where a number cannot be had it is None, and ``Meter.note`` says why.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Meter:
    """One device's counters; without NVML there are none, and ``note`` says why."""

    nvml: Any = None
    handle: Any = None
    note: str | None = None

    def energy_j(self) -> float | None:
        """Joules since the driver was loaded; only differences say anything."""
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else float(millijoules) / 1e3

    def power_limit_w(self) -> float | None:
        """What the GPU may draw."""
        milliwatts = self._ask("nvmlDeviceGetPowerManagementLimit")
        return None if milliwatts is None else float(milliwatts) / 1e3

    def other_processes(self) -> list[int]:
        """Ids of processes that compute on this GPU beside this one.

        In a container this process may go by another id, so ask before it has used the GPU.
        """
        found = self._ask("nvmlDeviceGetComputeRunningProcesses") or []
        return [process.pid for process in found if process.pid != os.getpid()]

    def _ask(self, function: str) -> Any:
        """The driver's answer, or None where it has none (an old GPU, a part of one)."""
        if self.nvml is None:
            return None
        try:
            return getattr(self.nvml, function)(self.handle)
        except self.nvml.NVMLError:
            return None


def open_meter(device: "torch.device") -> Meter:
    """The counters of ``device``, found by its UUID, since CUDA may number GPUs otherwise."""
    if device.type != "cuda":
        return Meter(note="watts are measured on NVIDIA GPUs only")
    import torch

    try:
        import pynvml
    except ImportError:
        return Meter(note="watts are not measured: the package nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        return Meter(pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except pynvml.NVMLError as error:
        return Meter(note=f"watts are not measured: NVML says {error}")
