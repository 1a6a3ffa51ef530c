import errno
import hashlib
import os
import resource
import shutil
import struct
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from challenge.errors import SubmissionError
from challenge.spec import CIFAR100, TINYIMAGENET, DatasetSpec
from challenge.submission import SubmissionFile, SubmissionWriter, normalize
from challenge.tensor_file import tensor_pickle

Images = Float[Tensor, "N 3 S S"]

PARTIAL = f".cifar100.pt.{os.getpid()}.partial"


def noise(count: int, spec: DatasetSpec = CIFAR100) -> Images:
    rng = torch.Generator().manual_seed(count)
    return torch.randn(count, *spec.image_shape, generator=rng)


def write(
    path: Path, images: Images, spec: DatasetSpec = CIFAR100, chunk: int = 37
) -> SubmissionFile:
    with SubmissionWriter(path, spec, len(images)) as writer:
        for start in range(0, len(images), chunk):
            writer.write(images[start : start + chunk])
        return writer.finish()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_normalize_takes_the_mean_to_zero_and_one_std_above_it_to_one() -> None:
    mean = torch.tensor(CIFAR100.mean).view(1, 3, 1, 1)
    std = torch.tensor(CIFAR100.std).view(1, 3, 1, 1)
    zeros, ones = normalize(torch.cat([mean, mean + std]), CIFAR100)
    torch.testing.assert_close(zeros, torch.zeros(3, 1, 1))
    torch.testing.assert_close(ones, torch.ones(3, 1, 1))


def test_normalize_makes_float32_and_leaves_its_input_alone() -> None:
    images = torch.ones(1, 3, 2, 2)
    for dtype in (torch.float16, torch.float32, torch.float64):
        assert normalize(images.to(dtype), TINYIMAGENET).dtype == torch.float32
    normalize(images, TINYIMAGENET)
    assert torch.equal(images, torch.ones(1, 3, 2, 2))


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("spec", [CIFAR100, TINYIMAGENET], ids=lambda spec: spec.name)
def test_torch_load_gives_one_contiguous_tensor_back(
    tmp_path: Path, spec: DatasetSpec, mmap: bool
) -> None:
    images = noise(2 * spec.num_classes, spec)
    write(tmp_path / spec.file_name, images, spec)
    loaded = torch.load(tmp_path / spec.file_name, weights_only=True, mmap=mmap)
    assert type(loaded) is Tensor
    assert loaded.dtype == torch.float32
    assert loaded.is_contiguous()
    assert loaded.untyped_storage().nbytes() == images.nbytes
    assert torch.equal(loaded, images)


def test_the_records_are_those_of_torch_save(tmp_path: Path) -> None:
    images = noise(100)
    write(tmp_path / "ours.pt", images)
    with (tmp_path / "theirs.pt").open("wb") as file:
        torch.save(images, file)
    ours, theirs = (zipfile.ZipFile(tmp_path / name) for name in ("ours.pt", "theirs.pt"))
    with ours, theirs:
        names = [name for name in theirs.namelist() if not name.endswith("serialization_id")]
        assert ours.namelist() == names
        assert [ours.read(name) for name in names] == [theirs.read(name) for name in names]


@pytest.mark.parametrize(
    "shape", [(1,), (100, 3, 32, 32), (70_000, 3, 32, 32), (200_000, 3, 64, 64)], ids=str
)
def test_the_pickle_is_the_one_that_torch_makes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with FakeTensorMode():
        tensor = torch.empty(shape)
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(tensor, tmp_path / "theirs.pt")  # nearly all of it is a hole
    with zipfile.ZipFile(tmp_path / "theirs.pt") as theirs:
        assert tensor_pickle(shape) == theirs.read("theirs/data.pkl")


def test_every_crc_is_right(tmp_path: Path) -> None:
    write(tmp_path / "cifar100.pt", noise(100))
    with zipfile.ZipFile(tmp_path / "cifar100.pt") as archive:
        assert archive.testzip() is None
        assert archive.getinfo("archive/data/0").file_size == 100 * 3 * 32 * 32 * 4


def test_a_file_that_needs_zip64_sizes_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1_000_000)  # the data is larger, as at 4 GiB
    images = noise(100)
    write(tmp_path / "cifar100.pt", images)
    monkeypatch.undo()
    with zipfile.ZipFile(tmp_path / "cifar100.pt") as archive:
        assert archive.getinfo("archive/data/0").extract_version == 45  # zip64
        assert archive.testzip() is None
    assert torch.equal(torch.load(tmp_path / "cifar100.pt", mmap=True), images)


def test_each_record_starts_at_a_multiple_of_64_bytes(tmp_path: Path) -> None:
    images = noise(100)
    write(tmp_path / "cifar100.pt", images)
    content = (tmp_path / "cifar100.pt").read_bytes()
    assert content.find(images.numpy().tobytes()) % 64 == 0
    with zipfile.ZipFile(tmp_path / "cifar100.pt") as archive:
        for record in archive.infolist():
            lengths = content[record.header_offset + 26 : record.header_offset + 30]
            name_bytes, extra_bytes = struct.unpack("<HH", lengths)  # zip specification, 4.3.7
            assert (record.header_offset + 30 + name_bytes + extra_bytes) % 64 == 0


def test_the_result_tells_count_size_and_hash_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cifar100.pt"
    submission = write(path, noise(300))
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    assert submission == SubmissionFile(path, images=300, ipc=3, bytes=len(content), sha256=sha256)


@settings(max_examples=10, deadline=None)
@given(chunk=st.integers(1, 250))
def test_the_file_does_not_depend_on_the_chunks(
    tmp_path_factory: pytest.TempPathFactory, chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("chunks")
    images = noise(200)
    whole = write(folder / "whole.pt", images, chunk=200)
    assert write(folder / "parts.pt", images, chunk=chunk).sha256 == whole.sha256


def test_a_chunk_in_another_memory_order_is_written_in_file_order(tmp_path: Path) -> None:
    images = noise(100)
    write(tmp_path / "cifar100.pt", images.to(memory_format=torch.channels_last))
    assert torch.equal(torch.load(tmp_path / "cifar100.pt"), images)


class LaggingHash:
    """A hash that is slower than any disk."""

    def __init__(self) -> None:
        self._hash = hashlib.new("sha256")
        self.hexdigest = self._hash.hexdigest

    def update(self, data: bytes) -> None:
        threading.Event().wait(0.02)
        self._hash.update(data)


def test_the_chunk_may_be_overwritten_once_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cifar100.pt"
    monkeypatch.setattr(hashlib, "sha256", LaggingHash)
    buffer = torch.zeros(50, *CIFAR100.image_shape)
    with SubmissionWriter(path, CIFAR100, 100) as writer:
        for value in (1.0, 2.0):
            writer.write(buffer.fill_(value))
        sha256 = writer.finish().sha256
    assert torch.load(path)[:, 0, 0, 0].tolist() == [1.0] * 50 + [2.0] * 50
    assert sha256 == hashlib.new("sha256", path.read_bytes()).hexdigest()


def test_the_old_file_stands_until_the_new_one_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "cifar100.pt"
    path.write_bytes(b"old")
    with SubmissionWriter(path, CIFAR100, 100) as writer:
        writer.write(noise(100))
        assert path.read_bytes() == b"old"
        assert names_in(tmp_path) == [PARTIAL, "cifar100.pt"]
        writer.finish()
        assert len(torch.load(path)) == 100
    assert names_in(tmp_path) == ["cifar100.pt"]


def test_a_synced_file_is_whole_but_not_yet_under_its_name(tmp_path: Path) -> None:
    images = noise(100)
    with SubmissionWriter(tmp_path / "cifar100.pt", CIFAR100, 100) as writer:
        writer.write(images)
        writer.sync()
        assert names_in(tmp_path) == [PARTIAL]
        assert torch.equal(torch.load(tmp_path / PARTIAL), images)
        submission = writer.finish()
    assert names_in(tmp_path) == ["cifar100.pt"]
    assert submission.path.stat().st_size == submission.bytes


def test_the_file_is_forced_to_disk_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, steps = tmp_path / "cifar100.pt", []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        synced = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append((synced, path.exists(), synced.stat().st_size))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    submission = write(path, noise(100))
    (first, renamed_before, size), (second, renamed_after, _) = steps
    assert (first, renamed_before, size) == (
        tmp_path / PARTIAL,
        False,
        submission.bytes,
    )
    assert (second, renamed_after) == (tmp_path, True)


def test_an_interruption_removes_the_partial_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "cifar100.pt"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with SubmissionWriter(path, CIFAR100, 100) as writer:
            writer.write(noise(50))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names_in(tmp_path) == ["cifar100.pt"]
    assert path.read_bytes() == b"old"


def test_a_partial_file_that_a_killed_run_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / PARTIAL).write_bytes(bytes(10_000_000))
    submission = write(tmp_path / "cifar100.pt", noise(100))
    assert names_in(tmp_path) == ["cifar100.pt"]
    assert submission.path.stat().st_size == submission.bytes < 10_000_000


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused_by_image_and_class(
    tmp_path: Path, value: float
) -> None:
    images = noise(300)
    images[217, 2, 31, 31] = value
    with pytest.raises(SubmissionError, match=r"cifar100\.pt: image 217 \(class 72\) holds NaN"):
        write(tmp_path / "cifar100.pt", images)
    assert names_in(tmp_path) == []


def test_a_count_that_is_not_the_announced_one_is_refused(tmp_path: Path) -> None:
    with SubmissionWriter(tmp_path / "cifar100.pt", CIFAR100, 100) as writer:
        writer.write(noise(99))
        with pytest.raises(ValueError, match="99 images written, 100 announced"):
            writer.finish()
        with pytest.raises(ValueError, match="more images than the 100 announced"):
            writer.write(noise(2))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("count", [0, -100, 99, 150])
def test_a_count_that_is_not_the_same_for_every_class_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="expected a multiple of 100"):
        SubmissionWriter(Path("cifar100.pt"), CIFAR100, count)


@pytest.mark.parametrize(
    "images", [torch.zeros(100, 3, 64, 64), torch.zeros(100, 3, 32, 32).double()]
)
def test_images_of_another_shape_or_dtype_are_refused(tmp_path: Path, images: Images) -> None:
    with pytest.raises(ValueError, match=r"expected torch.float32 and \(3, 32, 32\)"):
        write(tmp_path / "cifar100.pt", images)


def test_too_little_space_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1234))
    expected = (
        r"cifar100\.pt: cannot be written \(not enough space\); it takes 1,228,800 bytes and 1,234 "
        "are free; make room"
    )
    with pytest.raises(SubmissionError, match=expected):
        write(tmp_path / "cifar100.pt", noise(100))
    assert names_in(tmp_path) == []


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 100_000, 1_228_800, 1_229_900])
def test_a_write_that_the_system_refuses_is_told_and_leaves_the_old_file(
    tmp_path: Path, limit: int
) -> None:
    path = tmp_path / "cifar100.pt"
    path.write_bytes(b"old")
    reason = rf"cannot be written \({os.strerror(errno.EFBIG)}\); it takes 1,228,800 bytes"
    with largest_file(limit), pytest.raises(SubmissionError, match=reason):
        write(path, noise(100))
    assert names_in(tmp_path) == ["cifar100.pt"]
    assert path.read_bytes() == b"old"


def test_a_target_that_cannot_be_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="No such file or directory"):
        write(tmp_path / "missing" / "cifar100.pt", noise(100))
    (tmp_path / "cifar100.pt").mkdir()
    with pytest.raises(SubmissionError, match="a folder has this name"):
        write(tmp_path / "cifar100.pt", noise(100))
