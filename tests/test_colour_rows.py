from pathlib import Path

from report_runs import write_run

from challenge.report.colour_rows import colour_rows
from challenge.report.run_folder import open_runs
from challenge.spec import CIFAR100


def test_colours_stand_beside_the_public_constants(tmp_path: Path) -> None:
    (run,) = open_runs((write_run(tmp_path),))
    made = run.image_sets["cifar100"]
    rows = {title: columns for title, *columns in colour_rows(CIFAR100, made, made.images)}
    assert rows["mean of red"] == ["0.500", "0.500", "0.507"]
    assert rows["saturation, balance apart"][2] == "0.338"
    assert rows["balance of blue"][2] == "-0.037"
    assert rows["sharpness"][2] == ""


def test_without_images_there_is_no_table() -> None:
    assert colour_rows(CIFAR100, None, None) == []
