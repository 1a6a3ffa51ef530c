import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import FakeClock

from challenge.errors import OutputError
from challenge.forecast import DatasetCosts, MeasuredCosts
from challenge.readiness import (
    CHUNK_BYTES,
    GIB,
    DiskSpeed,
    available_memory_bytes,
    busy_device,
    busy_machine,
    lacking_memory,
    limited_by_disk,
    measure_disk,
)
from challenge.spec import CIFAR100

CIFAR_BYTES = 3 * 32 * 32 * 4


class Usage(NamedTuple):
    free: int


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def set_free(num_bytes: int) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(num_bytes))

    return set_free


def test_the_disk_s_speed_counts_the_bytes_until_they_are_forced_to_disk(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def slow_fsync(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        clock.advance(4.0)

    monkeypatch.setattr(os, "fsync", slow_fsync)
    disk = measure_disk(tmp_path, clock, most_bytes=3 * CHUNK_BYTES + 1)
    assert sizes == [3 * CHUNK_BYTES + 1]
    assert (disk.num_bytes, disk.seconds) == (3 * CHUNK_BYTES + 1, 4.0)
    assert disk.mb_per_s == pytest.approx((3 * CHUNK_BYTES + 1) / 4e6)
    assert list(tmp_path.iterdir()) == []


def test_at_most_half_of_what_is_free_is_written(
    tmp_path: Path, clock: FakeClock, free: Callable[[int], None]
) -> None:
    free(3 * CHUNK_BYTES)
    clock_that_moves = iter((0.0, 1.0))
    disk = measure_disk(tmp_path, lambda: next(clock_that_moves), GIB)
    assert disk.num_bytes == 1.5 * CHUNK_BYTES
    assert disk.free_bytes == 3 * CHUNK_BYTES


@pytest.mark.parametrize("num_bytes", [0, 1])
def test_a_full_disk_is_an_error_of_one_line(
    tmp_path: Path, clock: FakeClock, free: Callable[[int], None], num_bytes: int
) -> None:
    free(num_bytes)
    with pytest.raises(OutputError, match="No space left on device; make room"):
        measure_disk(tmp_path, clock, GIB)


def test_a_write_that_is_cut_short_is_an_error(tmp_path: Path, clock: FakeClock) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CHUNK_BYTES // 2, before[1]))
    try:
        with pytest.raises(OutputError, match="File too large"):
            measure_disk(tmp_path, clock, CHUNK_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_refuses_is_an_error_of_one_line(tmp_path: Path, clock: FakeClock) -> None:
    with pytest.raises(OutputError, match=r"cannot write to .*; make room"):
        measure_disk(tmp_path / "nowhere", clock, GIB)


def costs_of(file_s_per_image: dict[str, float]) -> MeasuredCosts:
    one = DatasetCosts(10.0, 1.0, 8, ((100, 0.1), (1000, 0.5)), file_s_per_image)
    return MeasuredCosts({}, {"cifar100": one})


def test_a_disk_slower_than_the_warm_up_s_files_makes_files_dearer() -> None:
    disk = DiskSpeed(num_bytes=10_000 * CIFAR_BYTES, seconds=20.0, free_bytes=0)
    costs = costs_of({"write": 0.0004, "fsync": 0.0001})  # 5 s for as many images
    limited = limited_by_disk(costs, [CIFAR100], disk).datasets["cifar100"]
    assert sum(limited.file_s_per_image.values()) == pytest.approx(0.002)
    assert limited.file_s_per_image["write"] == 0.0004
    assert limited.files == ((100, 0.1), (10_000, 20.0))


def test_a_disk_that_is_fast_enough_changes_nothing() -> None:
    disk = DiskSpeed(num_bytes=10_000 * CIFAR_BYTES, seconds=4.9, free_bytes=0)
    costs = costs_of({"write": 0.0004, "fsync": 0.0001})
    assert limited_by_disk(costs, [CIFAR100], disk) == costs


def test_lacking_memory_is_told_and_unknown_memory_is_not() -> None:
    text = lacking_memory(14 * GIB, 8 * GIB, "cuda:0")
    assert text is not None
    assert "weights take 14.00 GiB and cuda:0 has 8.00 GiB" in text
    assert lacking_memory(8 * GIB, 8 * GIB, "cuda:0") is None
    assert lacking_memory(8 * GIB, None, "this machine") is None


def test_memory_is_the_lesser_of_the_machine_s_and_the_container_s(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  2000 kB\nMemAvailable:  1000 kB\n")
    (tmp_path / "memory.current").write_text("24000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory_bytes(meminfo, tmp_path) == 1000 * 1024
    (tmp_path / "memory.max").write_text("524000\n")
    assert available_memory_bytes(meminfo, tmp_path) == 500_000
    assert available_memory_bytes(tmp_path / "none", tmp_path / "none") is None


def test_a_machine_or_a_gpu_that_others_use_is_told() -> None:
    assert busy_machine(0.4, 2) is None
    assert "load 1.6 on 2 cores" in str(busy_machine(1.6, 2))
    assert busy_device(GIB, 80 * GIB, "cuda:0") is None
    assert "20.00 of 80.00 GiB of cuda:0" in str(busy_device(20 * GIB, 80 * GIB, "cuda:0"))
