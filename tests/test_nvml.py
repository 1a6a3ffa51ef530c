import os
import sys
from types import SimpleNamespace

import pytest
import torch

from challenge.nvml import Meter, open_meter

GPU = torch.device("cuda", 1)


class FakeNvml:
    """NVML's functions for one GPU; ``missing`` are those that it does not know."""

    class NVMLError(Exception):
        pass

    def __init__(self, *missing: str) -> None:
        self.missing = missing
        self.asked: list[str] = []

    def _answer(self, function: str, value: object) -> object:
        if function in self.missing:
            raise self.NVMLError("Not Supported")
        return value

    def nvmlInit(self) -> None:  # noqa: N802
        self._answer("nvmlInit", None)

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.asked.append(uuid)
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> object:  # noqa: N802
        return self._answer("energy", 2_500)

    def nvmlDeviceGetPowerManagementLimit(self, handle: str) -> object:  # noqa: N802
        return self._answer("limit", 700_000)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> object:  # noqa: N802
        processes = [SimpleNamespace(pid=os.getpid()), SimpleNamespace(pid=7)]
        return self._answer("processes", processes)


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="abc-1")
    )


def test_a_gpu_is_found_by_its_uuid_and_answers_in_joules_and_watts(
    one_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meter = open_meter(GPU)
    assert nvml.asked == ["GPU-abc-1"]
    assert (meter.energy_j(), meter.power_limit_w(), meter.note) == (2.5, 700.0, None)


def test_this_process_is_not_another_one(one_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    assert open_meter(GPU).other_processes() == [7]


def test_what_the_driver_does_not_know_is_none(
    one_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml("energy", "processes"))
    meter = open_meter(GPU)
    assert meter.energy_j() is None
    assert meter.other_processes() == []
    assert meter.power_limit_w() == 700.0


def test_a_driver_without_nvml_is_told(one_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml("nvmlInit"))
    meter = open_meter(GPU)
    assert meter.note == "watts are not measured: NVML says Not Supported"
    assert meter.energy_j() is None


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "nvidia-ml-py is not installed" in str(open_meter(GPU).note)


def test_a_processor_has_no_meter() -> None:
    assert open_meter(torch.device("cpu")) == Meter(note="watts are measured on NVIDIA GPUs only")
