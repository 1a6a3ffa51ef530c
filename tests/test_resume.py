import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from challenge.errors import JournalError, UsageError
from challenge.records import write_json
from challenge.resume import (
    read_record,
    recorded_settings,
    require_same_settings,
    spent_seconds,
)
from challenge.settings import GenerateSettings
from challenge.watch import HEARTBEAT_FILE, HEARTBEAT_S

BEGUN = GenerateSettings(model="tiny", dataset="cifar100", seed=7, ipc=3, limit_s=60, json=True)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run that was begun and killed."""
    begun = replace(BEGUN, prompts_dir=Path("some/prompts"))
    write_json(tmp_path / "run.json", {"verdict": None, "settings": asdict(begun)})
    return tmp_path


def test_the_settings_of_the_run_come_back_with_their_types(run_dir: Path) -> None:
    expected = replace(BEGUN, prompts_dir=Path("some/prompts"), resume=run_dir, json=False)
    assert recorded_settings(run_dir) == expected


def test_the_same_settings_are_accepted_and_json_may_differ(run_dir: Path) -> None:
    require_same_settings(replace(recorded_settings(run_dir), json=True, device="cpu"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 8}, "--seed 7, not 8"),
        ({"model": "sdxl-turbo"}, "--model tiny, not sdxl-turbo"),
        ({"dataset": "all"}, "--dataset cifar100, not all"),
        ({"prompts_dir": Path("other")}, "--prompts-dir some/prompts, not other"),
        ({"limit_s": 600.0}, "--limit-s 60, not 600"),
        ({"ipc": "auto"}, "--ipc 3, not auto"),
    ],
)
def test_another_setting_is_refused_by_name(
    run_dir: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        require_same_settings(replace(recorded_settings(run_dir), **change))  # type: ignore[arg-type]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no run\.json"):
        read_record(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"settings": 3}', '{"verdict": null}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(JournalError, match="settings cannot be read"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit_s", "abc"), ("limit_s", None), ("limit_s", True), ("model", 5), ("distinct", 7),
        ("distinct", ["x"]), ("out", 4), ("dataset", "imagenet"), ("ipc", [1]), ("augment", {}),
        ("seed", 1.5), ("json", 1),
    ],
)  # fmt: skip
def test_a_setting_of_another_kind_is_refused(run_dir: Path, name: str, value: object) -> None:
    record = read_record(run_dir)
    record["settings"][name] = value
    write_json(run_dir / "run.json", record)
    with pytest.raises(JournalError) as refused:
        recorded_settings(run_dir)
    assert f"run.json: the setting {name} is {value!r}, which it cannot be; " in str(refused.value)


def test_a_setting_of_another_version_is_refused(run_dir: Path) -> None:
    record = read_record(run_dir)
    record["settings"]["colour_of_sky"] = "blue"
    write_json(run_dir / "run.json", record)
    with pytest.raises(JournalError, match="no setting 'colour_of_sky'"):
        recorded_settings(run_dir)


def test_a_killed_run_has_spent_until_its_last_sign_of_life_and_a_beat_more(run_dir: Path) -> None:
    record = read_record(run_dir)
    assert spent_seconds(run_dir, record) == HEARTBEAT_S
    (run_dir / "events.jsonl").write_text(
        json.dumps({"event": "BatchFinished", "t_s": 20.5}) + "\n" + '{"event": "cut", "t_s": 99'
    )
    assert spent_seconds(run_dir, record) == 20.5 + HEARTBEAT_S
    (run_dir / HEARTBEAT_FILE).write_text("00000031.250\n")
    assert spent_seconds(run_dir, record) == 31.25 + HEARTBEAT_S


def test_a_damaged_last_line_of_the_log_is_passed_over(run_dir: Path) -> None:
    (run_dir / "events.jsonl").write_bytes(b'{"t_s": 3.0}\n\x00\x00\x00\n')
    assert spent_seconds(run_dir, read_record(run_dir)) == 3.0 + HEARTBEAT_S


def test_a_run_that_ended_has_spent_what_its_record_says(run_dir: Path) -> None:
    (run_dir / HEARTBEAT_FILE).write_text("00000099.000\n")
    record = {"verdict": "VALID", "elapsed_s": 30.0, "spent_s": 42.5}
    assert spent_seconds(run_dir, record) == 42.5
