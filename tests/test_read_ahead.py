import os
from pathlib import Path

import pytest

from challenge.read_ahead import read_ahead


def test_asks_for_each_file_in_order_and_passes_over_one_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def note(descriptor: int, offset: int, length: int, advice: int) -> None:
        assert (offset, length) == (0, 0)  # the whole file
        asked.append((Path(f"/proc/self/fd/{descriptor}").resolve().name, advice))

    monkeypatch.setattr(os, "posix_fadvise", note)
    for name in ("unet", "vae"):
        (tmp_path / name).write_bytes(b"weights")

    thread = read_ahead([tmp_path / "unet", tmp_path / "gone", tmp_path / "vae"])

    assert thread is not None
    thread.join(timeout=10)
    assert asked == [("unet", os.POSIX_FADV_WILLNEED), ("vae", os.POSIX_FADV_WILLNEED)]


def test_a_system_without_the_call_reads_nothing_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fadvise")
    assert read_ahead([tmp_path]) is None
