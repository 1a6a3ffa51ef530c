import json
from pathlib import Path

import pytest
from report_runs import write_evaluation, write_run

from challenge.report import dataset_section as module
from challenge.report.dataset_section import DatasetSection, dataset_section, wilson
from challenge.report.run_folder import open_runs


def section(folder: Path, budget: int = 10**7) -> DatasetSection:
    (run,) = open_runs((folder,))
    return dataset_section(run, "cifar100", None, 3, budget)


def test_classes_show_what_was_made_and_how_well_it_is_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_evaluation(folder)
    found = section(folder)
    assert [row.name for row in found.classes[:2]] == ["apple", "aquarium_fish"]
    assert found.classes[0].made is not None
    assert found.classes[0].made.images == 3
    assert found.classes[0].accuracy == 0.5
    assert found.worst[0].name == "aquarium_fish"
    assert found.worst[0].taken_for == "baby 100%"
    assert found.matrix is not None
    assert "edited since this run" in str(found.prompts_note)
    assert found.classes[0].pool >= 1


def test_an_evaluation_in_another_label_order_is_shown_by_class(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_evaluation(folder, confusion=None)
    found = section(folder)
    assert found.matrix is None
    assert found.by_class is None
    assert found.classes[1].accuracy == 0.0


def test_near_duplicates_are_shown_as_pairs(tmp_path: Path) -> None:
    found = section(write_run(tmp_path / "run"))
    assert found.duplicates is not None
    assert found.duplicates["images"] == 2
    assert [title for title, _ in found.pairs] == ["apple and worm, 1.000"]


def test_a_small_budget_means_fewer_pictures(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    assert section(folder).shown_per_class == 3
    assert section(folder, budget=200_000).shown_per_class == 1


def test_prompts_are_those_of_the_runs_preset_with_their_shares(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    record["prompts"]["cifar100"] |= {"preset": "diverse", "per_class": 50}
    (folder / "run.json").write_text(json.dumps(record))
    porcupine = section(folder).classes[63]
    assert (porcupine.name, porcupine.pool, len(porcupine.prompts)) == ("porcupine", 50, 8)
    (text, share), *_ = porcupine.shares["phrase"]
    assert "hedgehog" in text
    assert 0.1 < share < 0.7
    plain = section(write_run(tmp_path / "plain")).classes[63]
    assert (plain.pool, plain.shares) == (1, {})


def test_the_interval_is_wilsons() -> None:
    # 10 of 100 by the formula, by hand: 0.0552 to 0.1744
    assert wilson(10, 100) == pytest.approx((0.05523, 0.17437), abs=1e-4)
    assert wilson(0, 100)[0] == 0
    assert wilson(0, 0) == (0, 1)
    assert module.SHOWN_WORST == 8
