import os

import pytest
import torch

from challenge.environment import (
    describe_machine,
    git_commit,
    let_waiting_threads_sleep,
    memory_in_use_gib,
    resolve_device,
    resolve_dtype,
)
from challenge.errors import DeviceError

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cuda:", "cpu:0", "", "CUDA"])
def test_a_device_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="is not known; give auto, cpu, cuda or cuda:N"):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_refused_with_the_number_there_are() -> None:
    with pytest.raises(DeviceError, match=r"no device cuda:63: torch .* sees \d+ GPUs"):
        resolve_device("cuda:63")


def test_auto_takes_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU


def test_auto_dtype_is_float32_on_a_cpu_and_float16_on_a_gpu() -> None:
    assert resolve_dtype("auto", CPU) == torch.float32
    assert resolve_dtype("auto", torch.device("cuda", 0)) == torch.float16
    assert resolve_dtype("bfloat16", CPU) == torch.bfloat16


def test_the_machine_is_described_by_plain_values() -> None:
    machine = describe_machine(CPU)
    assert torch.__version__.startswith(machine["packages"]["torch"])
    assert machine["device"] == "cpu"
    assert machine["gpu"] is None
    assert machine["cpu_cores"] == os.cpu_count()


def test_the_commit_is_that_of_the_checkout_or_nothing() -> None:
    commit = git_commit()
    assert commit is None or len(commit.removesuffix("+changes")) == 40


def test_a_thread_policy_that_the_user_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    let_waiting_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    let_waiting_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_the_memory_in_use_grows_with_what_is_held() -> None:
    before = memory_in_use_gib()["memory_gib"]
    held = bytearray(b"x" * 2**28)
    assert memory_in_use_gib()["memory_gib"] == pytest.approx(before + 0.25, abs=0.1)
    assert len(held) == 2**28
