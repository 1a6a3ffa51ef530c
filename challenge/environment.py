"""The machine this run is on: its device, and what a record must say about it."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from challenge.errors import DeviceError
from challenge.nvml import open_meter

if TYPE_CHECKING:
    import torch

RECORDED_PACKAGES = (
    "torch", "torchvision", "diffusers", "transformers", "accelerate", "kornia", "safetensors",
    "numpy", "pillow",
)  # fmt: skip


def let_waiting_threads_sleep() -> None:
    """Have torch's CPU threads sleep while they wait; call it before torch is imported.

    OpenMP's default is to spin. With one other busy process on two cores that cost a run of the
    embedded model all but 0.7 of its images a second; asleep it made 130 to 220 (2026-11).
    A policy that the user has set is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def resolve_device(name: str) -> "torch.device":
    """The device that ``--device`` names; ``auto`` is the first GPU, or the CPU without one.

    Raises ``DeviceError`` for a name that is none of auto, cpu, cuda, cuda:N, and for a GPU that is
    not there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if name != "cpu" and not (kind == "cuda" and (index.isdecimal() or name == "cuda")):
        raise DeviceError(f"device {name!r} is not known; give auto, cpu, cuda or cuda:N")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise DeviceError(
                f"no device {name}: torch {torch.__version__} sees {count} GPUs; "
                "give --device cpu, or auto"
            )
        return torch.device("cuda", int(index or 0))
    return torch.device("cpu")


def resolve_dtype(name: str, device: "torch.device") -> "torch.dtype":
    """The number format that ``--dtype`` names; ``auto`` is float16 on a GPU and float32 on a CPU.

    One step multiplies an error of the UNet by 14.6, so float16 (0.005 rms in the latents) goes
    before bfloat16 (0.036).
    """
    import torch

    chosen = name if name != "auto" else ("float16" if device.type == "cuda" else "float32")
    dtype = getattr(torch, chosen)
    assert isinstance(dtype, torch.dtype)
    return dtype


def describe_machine(device: "torch.device") -> dict[str, Any]:
    """Hardware, operating system and package versions, as plain values for a record."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "cpu_cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "device": str(device),
        "gpu": describe_gpu(device),
        "packages": package_versions(),
        "commit": git_commit(),
    }


def memory_in_use_gib() -> dict[str, float]:
    """What this process holds now: ``memory_gib``, and ``gpu_memory_gib`` once it uses a GPU.

    Empty where the system does not tell. 20 microseconds, so that it can be noted all the time.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return {}
    found = {"memory_gib": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**30, 3)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        found["gpu_memory_gib"] = round(torch.cuda.memory_reserved() / 2**30, 3)
    return found


def describe_gpu(device: "torch.device") -> dict[str, Any] | None:
    """Name, memory, power limit and CUDA version of a GPU; None for a CPU."""
    import torch

    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "power_limit_w": open_meter(device).power_limit_w(),
        "cuda": torch.version.cuda,
    }


def device_title(device: "torch.device") -> str:
    """The device's name for a person: the GPU's, or the processor's with the number of cores."""
    gpu = describe_gpu(device)
    return str(gpu["name"]) if gpu else f"{_cpu_name()}, {os.cpu_count()} cores"


def git_commit() -> str | None:
    """Commit of this checkout, with ``+changes`` when it was edited; None outside one."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(root, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that decide what a run makes and how fast; None where missing."""
    return {name: _version(name) for name in RECORDED_PACKAGES}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None
