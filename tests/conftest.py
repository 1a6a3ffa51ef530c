"""What several test files share."""

import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from challenge import cli
from challenge.environment import let_waiting_threads_sleep

# before anything imports torch, as the next lines do
let_waiting_threads_sleep()
if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are shared by the tests, not by threads
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402
from hypothesis import settings  # noqa: E402
from pretend_gpu import pretend_gpu  # noqa: E402
from real_layouts import (  # noqa: E402
    write_cifar_test,
    write_cifar_train,
    write_noisy_cifar_train,
)

# no change is refused by chance; --hypothesis-profile=default looks further
settings.register_profile("same", derandomize=True)
settings.load_profile("same")


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what fixtures of the whole session measure out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("CHALLENGE_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own for each test: none learns from another's measurements."""
    folder = tmp_path.with_name(f"{tmp_path.name}-cache")
    monkeypatch.setenv("CHALLENGE_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def hangups() -> Iterator[None]:
    """SIGHUP is not ignored, as it is where the tests run under ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """The first GPU; where there is none, one that is pretended."""
    with nullcontext() if torch.cuda.is_available() else pretend_gpu():
        yield torch.device("cuda", 0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> "CliRunner":
    return CliRunner(capsys)


class CliRunner:
    """Runs a command line in this process and gives back exit code, stdout and stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one finished run of the embedded model: CIFAR-100, two images a class, not
    augmented.
    """
    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    arguments = [
        "generate",
        "--model",
        "tiny",
        "--dataset",
        "cifar100",
        "--ipc",
        "2",
        "--augment",
        "none",
    ]
    assert cli.main([*arguments, "--limit-s", "120", "--out", str(run_dir), "--json"]) == 0
    return run_dir


@pytest.fixture
def cifar_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the CIFAR-100 test file of ``real_layouts``."""
    write_cifar_test(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def cifar_train_dir(cifar_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with the training file."""
    write_cifar_train(cifar_dir, monkeypatch)
    return cifar_dir


@pytest.fixture
def many_real_images(cifar_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with eight training images of noise a class."""
    write_noisy_cifar_train(cifar_dir, monkeypatch)
    return cifar_dir
