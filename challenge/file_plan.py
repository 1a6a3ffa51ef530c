"""Which images the file holds, given how many distinct ones there are of each class.

Distinct images come first; post-augmented variants fill the rest. One rule covers the variants of a
short run, an incomplete last round and ``--ipc N``: slot j of a class is its base image j modulo
count, as variant j divided by count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from challenge.settings import AugmentPreset
from challenge.spec import DatasetSpec

FLOAT32_BYTES = 4
FEW_IMAGES = 50  # of a class: up to here variants help


@dataclass(frozen=True)
class FilePlan:
    """``ipc`` images of each class, filled by going round and round its distinct images."""

    ipc: int

    def slots(self, bases: int) -> list[tuple[int, int]]:
        """(base image, variant) of each image of a class; variant 0 is the image itself."""
        return [(slot % bases, slot // bases) for slot in range(self.ipc)]


def variants_for(base_ipc: int, augment: AugmentPreset) -> int:
    """Post-augmented variants worth adding to each of ``base_ipc`` distinct images of a class.

    Measured on real images (README, "What helps"): variants help where there are few distinct
    images and do harm where there are a hundred. The mirror image is one; BANKO made four, always.
    """
    match augment:
        case "none":
            return 0
        case "banko":
            return 4
        case "flip":
            return 1 if base_ipc <= FEW_IMAGES else 0
    return 4 if base_ipc <= FEW_IMAGES else 0


@dataclass(frozen=True)
class FileCeiling:
    """The most images of a class that a file may hold, and what would have to be larger."""

    ipc: int
    because: str


def file_ceiling(spec: DatasetSpec, max_file_gib: float, free_bytes: int) -> FileCeiling:
    """What ``--max-file-gib`` and the free bytes of the disk allow.

    On the disk an image takes its pixels as bytes in the journal, four times that in the file, and
    again half of it in the file of half as many images that stands until the new one is whole. A
    twentieth of the disk is left alone.
    """
    class_bytes = spec.num_classes * prod(spec.image_shape)
    by_setting = int(max_file_gib * 2**30) // (FLOAT32_BYTES * class_bytes)
    by_disk = int(0.95 * free_bytes) // (class_bytes * (1 + FLOAT32_BYTES + FLOAT32_BYTES // 2))
    if by_disk < by_setting:
        return FileCeiling(by_disk, f"the disk has {free_bytes / 2**30:.1f} GiB free")
    return FileCeiling(by_setting, f"--max-file-gib is {max_file_gib:g}")


def plan_file(
    counts: Sequence[int],
    target_ipc: int | None,
    *,
    augment: AugmentPreset,
    most_ipc: int | None = None,
) -> FilePlan:
    """The largest balanced file from ``counts`` distinct images a class, or ``target_ipc``.

    An incomplete last round is completed by variants; without (``none``) it stays out of the file.
    It never holds more than ``most_ipc`` a class, variants included.
    """
    if augment == "none":
        ipc = min(counts)
    elif min(counts) == 0:
        ipc = 0
    else:
        ipc = max(counts) * (1 + variants_for(max(counts), augment))
    return FilePlan(min(bound for bound in (ipc, target_ipc, most_ipc) if bound is not None))
