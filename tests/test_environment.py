import os
import subprocess
import sys
import time

import pytest
import torch

from challenge.environment import (
    clock_since_now,
    clock_since_process_start,
    describe_machine,
    git_commit,
    let_waiting_threads_sleep,
    resolve_device,
    resolve_dtype,
)
from challenge.errors import DeviceError

CPU = torch.device("cpu")


def test_the_process_clock_counts_from_the_start_of_the_process() -> None:
    script = (
        "import time; time.sleep(0.3); "
        "from challenge.environment import clock_since_process_start as c; print(c()(), c().zero)"
    )
    started_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    lived_s = time.monotonic() - started_s
    reading, zero = done.stdout.split(maxsplit=1)
    assert 0.3 <= float(reading) <= lived_s + 0.02  # the kernel counts the start in 1/100 s
    assert zero.strip() == "process start"


def test_what_a_shell_did_before_it_became_the_program_is_not_counted() -> None:
    # bash makes its last command its own process: same number, same start
    script = (
        "from challenge.environment import clock_since_process_start as c; print(c()(), c().zero)"
    )
    command = 'sleep 1.5 && exec "$0" -c "$1"'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, script], capture_output=True, text=True, check=True
    )
    reading, zero = done.stdout.split(maxsplit=1)
    assert 0 < float(reading) < 1.5
    assert "was a shell" in zero


def test_a_clock_since_now_starts_at_zero_and_runs_on() -> None:
    clock = clock_since_now()
    first, second = clock(), clock()
    assert 0 <= first <= second < 1
    assert clock.source == "CLOCK_BOOTTIME" or not hasattr(time, "CLOCK_BOOTTIME")


def test_without_a_process_table_the_clock_starts_now_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_table(*arguments: object, **options: object) -> str:
        raise OSError

    monkeypatch.setattr("pathlib.Path.read_text", no_table)
    clock = clock_since_process_start()
    assert clock.zero == "start of the command"
    assert clock() < 1


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
