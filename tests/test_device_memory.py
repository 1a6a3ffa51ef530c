"""The arithmetic, on memory that is made up; no GPU is needed."""

import pytest
import torch

from challenge.generators.device_memory import room_for_twice

GIB = 2**30


def card(
    patch: pytest.MonkeyPatch, *, held: float, peak: float, reserved: float, free: float
) -> None:
    """A GPU with these GiB: torch holds some, held more in the batch, and keeps some for later."""
    for name, gib in (
        ("memory_allocated", held),
        ("max_memory_allocated", peak),
        ("memory_reserved", reserved),
    ):
        patch.setattr(torch.cuda, name, lambda device, gib=gib: int(gib * GIB))
    patch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free * GIB), 8 * GIB))


def test_twice_the_batch_must_fit_into_what_is_free_and_what_torch_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", watched.append)
    device = torch.device("cuda", 0)
    has_room = room_for_twice(device)
    assert watched == [device]
    card(monkeypatch, held=5.0, peak=6.0, reserved=6.0, free=1.5)  # 2 of 2.5
    assert has_room()
    card(monkeypatch, held=5.0, peak=6.2, reserved=6.2, free=1.3)  # 2.4 of 2.5: too tight
    assert not has_room()
    card(monkeypatch, held=5.0, peak=6.0, reserved=6.0, free=0.5)  # somebody else uses it too
    assert not has_room()


def test_a_cpu_has_room() -> None:
    assert room_for_twice(torch.device("cpu"))()
