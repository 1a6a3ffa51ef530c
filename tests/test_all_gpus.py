from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from challenge.benchmarks.all_gpus import measure_all
from challenge.errors import ChallengeError, DeviceError
from challenge.settings import BenchmarkSettings

SETTINGS = BenchmarkSettings(all_gpus=True, batch_sizes=(8, 16), record=Path("mine.json"))


@dataclass
class FakeProcess:
    """A GPU's benchmark that has ended; the second GPU has been lost."""

    settings: BenchmarkSettings

    def document(self) -> dict[str, Any]:
        if self.settings.device == "cuda:1":
            raise ChallengeError("it printed no result: the GPU has fallen off the bus")
        best = {"images_per_s": 100.0, "batch_size": 16, "error": None}
        return {"device": "NVIDIA H200", "best": best}


def test_every_gpu_has_a_row_also_one_that_failed() -> None:
    said: list[str] = []
    document = measure_all(SETTINGS, 3, said.append, FakeProcess)
    assert [(row["gpu"], row["images_per_s"]) for row in document["rows"]] == [
        ("cuda:0", 100.0),
        ("cuda:1", None),
        ("cuda:2", 100.0),
    ]
    assert "fallen off the bus" in document["rows"][1]["error"]
    assert document["images_per_s"] == 200.0
    assert said[0] == "cuda:0: NVIDIA H200, 100 images/s, batch 16"


def test_all_are_started_before_the_first_is_waited_for() -> None:
    events: list[str] = []

    class Recorded(FakeProcess):
        def __init__(self, settings: BenchmarkSettings) -> None:
            super().__init__(settings)
            events.append(f"start {settings.device}")
            assert settings == replace(
                SETTINGS, all_gpus=False, record=None, json=True, device=settings.device
            )

        def document(self) -> dict[str, Any]:
            events.append(f"end {self.settings.device}")
            return super().document()

    measure_all(SETTINGS, 2, lambda text: None, Recorded)
    assert events == ["start cuda:0", "start cuda:1", "end cuda:0", "end cuda:1"]


def test_a_machine_without_a_gpu_is_told_so() -> None:
    with pytest.raises(DeviceError, match="torch sees no GPU"):
        measure_all(SETTINGS, 0, lambda text: None, FakeProcess)


def test_no_gpu_that_could_be_measured_is_an_error() -> None:
    class Lost(FakeProcess):
        def document(self) -> dict[str, Any]:
            raise ChallengeError("lost")

    with pytest.raises(ChallengeError, match="no GPU could be measured, cuda:0 since: lost"):
        measure_all(SETTINGS, 2, lambda text: None, Lost)
