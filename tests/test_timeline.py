from pathlib import Path

import pytest
from report_runs import write_images, write_run

from challenge.report.run_folder import RunFolder, open_runs
from challenge.report.timeline import memory_curve, speed_curve, timeline


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return open_runs((write_run(tmp_path / "first"),))[0]


def test_bars_stand_where_the_time_was_spent(run: RunFolder) -> None:
    found = timeline(run)
    assert found is not None
    before, images = found.lanes
    assert [(bar.kind, bar.start_s, bar.end_s) for bar in before.bars] == [
        ("start_up", 0, 1),
        ("import", 1, 3),
        ("load", 3, 4),
    ]
    assert [(bar.kind, bar.start_s, bar.end_s) for bar in images.bars] == [
        ("generate", 4, 10),
        ("early-file", 7, 7.5),
        ("file", 10.5, 12),
    ]
    assert [(bar.kind, bar.start_s, bar.end_s) for bar in images.planned] == [
        ("generate", 4, 11),
        ("write", 11, 13),
    ]
    assert images.deadline_s == 20


def test_the_ruler_ends_with_the_limit_and_places_are_shares_of_it(run: RunFolder) -> None:
    found = timeline(run)
    assert found is not None
    assert found.end_s == 20
    assert found.ticks == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert found.share(5.0) == "25.000%"
    assert found.share(21.0) == "100.000%"


def test_the_speed_is_images_over_seconds(run: RunFolder) -> None:
    curve = speed_curve(run, "cifar100")
    assert len(curve) == 6
    assert sum(speed for _, speed in curve) / 6 == pytest.approx(50)
    assert curve[0][0] == pytest.approx(4.5)
    assert speed_curve(run, "tinyimagenet") == []


def test_memory_is_what_each_event_noted(run: RunFolder) -> None:
    assert memory_curve(run) == [(4.0 + n, 1 + n / 10) for n in range(1, 7)]
    assert memory_curve(run, "gpu_memory_gib") == []


def test_a_run_of_which_nothing_is_known_has_no_timeline(tmp_path: Path) -> None:
    write_images(tmp_path)
    assert timeline(open_runs((tmp_path,))[0]) is None
