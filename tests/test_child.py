from pathlib import Path

import pytest

from challenge import cli
from challenge.benchmarks import child
from challenge.errors import ChallengeError
from challenge.settings import BenchmarkSettings


@pytest.mark.parametrize(
    "settings",
    [
        BenchmarkSettings(),
        BenchmarkSettings(
            model="sd-turbo",
            weights="random",
            batch_sizes=(1, 64),
            resolutions=(512, 256),
            decoders=("vae", "thumbnail"),
            profile=True,
            device="cuda:1",
            seconds_per_row=0.5,
            record=Path("a folder") / "mine.json",
        ),
    ],
)
def test_the_command_line_of_settings_gives_the_same_settings(settings: BenchmarkSettings) -> None:
    assert cli._parse(child.benchmark_arguments(settings)) == settings


def test_a_document_is_the_last_line_of_what_the_program_prints() -> None:
    process = child.start(["benchmark", "--model", "tiny", "--batch-sizes", "0", "--json"])
    assert "--batch-sizes 0 is not a count" in child.finish(process, timeout_s=60)["error"]


def test_a_program_that_prints_no_document_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "START", "import sys; sys.exit('no GPU in sight')")
    with pytest.raises(ChallengeError, match="it printed no result: no GPU in sight"):
        child.finish(child.start([]))


def test_a_program_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "START", "import signal; signal.pause()")
    process = child.start([])
    with pytest.raises(ChallengeError, match="it had not ended after 1 s"):
        child.finish(process, timeout_s=0.6)
    assert process.returncode == -9
