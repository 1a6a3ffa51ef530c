import json
from pathlib import Path

import pytest
from conftest import FakeClock

from challenge.embedded_training.training_log import TrainingLog


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_has_the_means_of_the_steps_since_the_last_one(
    tmp_path: Path, clock: FakeClock
) -> None:
    log = TrainingLog(tmp_path / "log.jsonl", clock, every_s=10.0)
    with log.stage("generator"):
        for step, loss in enumerate((1.0, 2.0, 6.0, 5.0), start=1):
            clock.advance(5)
            log.tell(step, 100, loss=loss)
    first, second = lines(tmp_path / "log.jsonl")
    assert first == {
        "stage": "generator",
        "seconds": 10,
        "step": 2,
        "steps": 100,
        "steps_per_s": 0.2,
        "loss": 1.5,
    }
    assert second["loss"] == 5.5


def test_a_value_that_only_some_steps_have_is_averaged_over_those(
    tmp_path: Path, clock: FakeClock
) -> None:
    log = TrainingLog(tmp_path / "log.jsonl", clock, every_s=10.0)
    log.tell(1, 100, cifar100=4.0)
    clock.advance(10)
    log.tell(2, 100, tinyimagenet=8.0)
    (line,) = lines(tmp_path / "log.jsonl")
    assert (line["cifar100"], line["tinyimagenet"]) == (4, 8)


def test_the_last_step_is_always_told(tmp_path: Path, clock: FakeClock) -> None:
    log = TrainingLog(tmp_path / "log.jsonl", clock, every_s=10.0)
    log.tell(1, 2, loss=1.0)
    log.tell(2, 2, loss=3.0)
    assert [line["step"] for line in lines(tmp_path / "log.jsonl")] == [2]


def test_a_stage_within_a_stage_has_its_own_seconds(
    tmp_path: Path, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    log = TrainingLog(tmp_path / "log.jsonl", clock)
    with log.stage("generator"):
        clock.advance(100)
        with log.stage("features"):
            clock.advance(7)
            log.result(accuracy=0.5)
        log.result(recognised=0.25)
    told = [(line["stage"], line["seconds"]) for line in lines(tmp_path / "log.jsonl")]
    assert told == [("features", 7), ("generator", 107)]
    assert capsys.readouterr().err.splitlines()[0] == "features 7 s  accuracy 0.5"
