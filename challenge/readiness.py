"""Is there what a run needs: a disk that is fast and roomy enough, memory, a machine of its own.

Each check gives a fact, and a sentence when it is not enough: found, expected, what to do.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from challenge.budget import Clock
from challenge.file_plan import FLOAT32_BYTES
from challenge.forecast import DatasetCosts, MeasuredCosts
from challenge.records import explaining_os_errors
from challenge.spec import DatasetSpec

GIB = 2**30
CHUNK_BYTES = 2**24


@dataclass(frozen=True)
class DiskSpeed:
    """So many bytes were written and forced to disk in so many seconds."""

    num_bytes: int
    seconds: float
    free_bytes: int

    @property
    def mb_per_s(self) -> float:
        """Megabytes (10**6 bytes) a second."""
        return self.num_bytes / 1e6 / self.seconds


def measure_disk(folder: Path, clock: Clock, most_bytes: int) -> DiskSpeed:
    """Write ``most_bytes``, or half of what is free, to ``folder`` and force them to disk.

    Random bytes, since some file systems compress; in a file without a name, so that nothing is
    left behind whatever happens. Raises ``OutputError`` when the disk refuses.
    """
    with explaining_os_errors(folder):
        free_bytes = shutil.disk_usage(folder).free
        num_bytes = min(most_bytes, free_bytes // 2)
        if num_bytes == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        chunk = os.urandom(min(num_bytes, CHUNK_BYTES))
        with tempfile.TemporaryFile(dir=folder) as file:
            started_s = clock()
            for start in range(0, num_bytes, len(chunk)):
                file.write(chunk[: num_bytes - start])
            file.flush()
            os.fsync(file.fileno())
            return DiskSpeed(num_bytes, clock() - started_s, free_bytes)


def limited_by_disk(
    costs: MeasuredCosts, specs: Sequence[DatasetSpec], disk: DiskSpeed
) -> MeasuredCosts:
    """``costs``, with files no faster than the disk took the trial's bytes.

    The files of a warm-up are small; a disk with a cache is slower when much is written.
    """
    datasets: dict[str, DatasetCosts] = {
        spec.name: _limited_by_disk(costs.datasets[spec.name], spec, disk) for spec in specs
    }
    return replace(costs, datasets=datasets)


def _limited_by_disk(costs: DatasetCosts, spec: DatasetSpec, disk: DiskSpeed) -> DatasetCosts:
    images = disk.num_bytes // (FLOAT32_BYTES * prod(spec.image_shape))
    as_measured_s = images * sum(costs.file_s_per_image.values())
    if disk.seconds <= as_measured_s:
        return costs
    fsync_s = costs.file_s_per_image.get("fsync", 0.0) + (disk.seconds - as_measured_s) / images
    return replace(
        costs,
        files=(costs.files[0], (images, disk.seconds)),
        file_s_per_image=costs.file_s_per_image | {"fsync": fsync_s},
    )


def available_memory_bytes(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Memory that a new program can have, within this container's limit; None where not told."""
    amounts = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = meminfo.read_text().splitlines()
        amounts += [int(s.split()[1]) * 1024 for s in lines if s.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):  # the limit is "max" where there is none
        limit, used = ((cgroup / f"memory.{name}").read_text() for name in ("max", "current"))
        amounts.append(int(limit) - int(used))
    return min(amounts, default=None)


def lacking_memory(needed: int, available: int | None, where: str) -> str | None:
    """What to say when the weights do not fit into ``where``; None when they do, or if unknown."""
    if available is None or available >= needed:
        return None
    return (
        f"the model's weights take {_gib(needed)} GiB and {where} has {_gib(available)} GiB "
        "available; end other programs, or take a smaller model or --dtype"
    )


def busy_machine(load: float, cores: int) -> str | None:
    """What to say when the processor was busy before; None when it was idle.

    ``load`` is the mean number of running threads in the last minute.
    """
    if load < 0.5:
        return None
    return (
        f"this machine was busy before (load {load:.1f} on {cores} cores in the last minute): if "
        "that goes on, what follows was measured beside it"
    )


def busy_device(used: int, total: int, device: str) -> str | None:
    """What to say when others hold memory of a GPU before the model is loaded; None if hardly."""
    if used < 1.5 * GIB:  # this program's own context takes about half a GiB
        return None
    return (
        f"{_gib(used)} of {_gib(total)} GiB of {device} are in use before the model is loaded: "
        "another program runs there (see nvidia-smi)"
    )


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.2f}"
