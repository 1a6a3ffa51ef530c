from dataclasses import asdict
from pathlib import Path

import pytest

from challenge.records import write_json
from challenge.watch import (
    HEARTBEAT_FILE,
    GuardReport,
    Watch,
    decode_line,
    encode_line,
    read_heartbeat_s,
    read_report,
    report_path,
)

WATCH = Watch("cifar100", guard_at_s=90.0, deadline_s=100.0, rounds_in_file=3, most_ipc=50)


def test_what_the_run_tells_comes_through_the_line_unchanged() -> None:
    assert decode_line(encode_line(WATCH)) == WATCH
    assert decode_line(encode_line(None)) is None
    assert encode_line(WATCH).count(b"\n") == 1


@pytest.mark.parametrize(
    ("now_s", "alive", "acts"),
    [
        (89.9, True, False),
        (90.0, True, True),
        (99.9, True, True),
        (100.0, True, False),  # no file can be in time any more
        (10.0, False, True),
        (100.0, False, False),
    ],
)
def test_the_guard_acts_from_the_last_safe_moment_on_or_when_the_run_is_dead(
    now_s: float, alive: bool, acts: bool
) -> None:
    assert (WATCH.why_act(now_s, run_is_alive=alive) is not None) == acts


def test_the_reason_tells_a_dead_run_from_a_stalled_one() -> None:
    assert "ended" in str(WATCH.why_act(95.0, run_is_alive=False))
    assert "had not begun to pack" in str(WATCH.why_act(95.0, run_is_alive=True))


def test_a_report_is_read_back_and_one_that_is_damaged_says_so(tmp_path: Path) -> None:
    report = GuardReport("cifar100", "a test", rounds=2, end_s=4.0, path="x.pt", images=200)
    assert read_report(tmp_path, "cifar100") is None
    write_json(report_path(tmp_path, "cifar100"), asdict(report))
    assert read_report(tmp_path, "cifar100") == report
    assert read_report(tmp_path, "tinyimagenet") is None
    report_path(tmp_path, "cifar100").write_text("{")
    damaged = read_report(tmp_path, "cifar100")
    assert damaged is not None
    assert "guard-cifar100.json" in str(damaged.error)


def test_the_heartbeat_is_a_number_and_nothing_else_counts(tmp_path: Path) -> None:
    assert read_heartbeat_s(tmp_path) == 0.0
    (tmp_path / HEARTBEAT_FILE).write_text("00000012.345\n")
    assert read_heartbeat_s(tmp_path) == 12.345
    (tmp_path / HEARTBEAT_FILE).write_text("12.3x")
    assert read_heartbeat_s(tmp_path) == 0.0
