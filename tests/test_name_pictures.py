"""The pages and the score of ``name_pictures.py``."""

from pathlib import Path

import numpy as np
import pytest
from name_pictures import GROUPS, classes, draw, score
from PIL import Image
from report_runs import write_images

from challenge.images import LABEL_PIXELS
from challenge.spec import CIFAR100


def test_a_viewer_who_knows_all_is_right_and_who_is_silent_is_not() -> None:
    truth = ["fox", "wolf", "bee"] + ["sea"] * (GROUPS - 3)
    answers = {str(number): [name] for number, name in enumerate(truth, 1)}
    assert score(answers, truth) == (GROUPS, GROUPS, ())
    answers |= {"1": ["wolf", "fox"], "2": ["a", "b", "c", "wolf"]}
    del answers["3"]
    assert score(answers, truth) == (
        GROUPS - 3,
        GROUPS - 2,
        ("fox (wolf)", "wolf (a)", "bee ()"),
    )


def test_classes_come_again_and_are_left_out() -> None:
    drawn = classes(CIFAR100, 5)
    assert len(drawn) == GROUPS
    assert 50 < len(set(drawn)) < 75  # 63.4 are expected
    assert drawn == classes(CIFAR100, 5) != classes(CIFAR100, 6)


def test_a_group_is_pictures_of_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path)
    monkeypatch.setattr("name_pictures.PICTURES", 3)
    drawn = classes(CIFAR100, 5)
    folder = tmp_path / "pages"
    folder.mkdir()
    draw(tmp_path, CIFAR100, folder, 5)
    pages = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
    assert len(pages) == 10
    rows = np.concatenate([np.split(page[2:], 10) for page in pages])[:, :, LABEL_PIXELS:]
    columns = [sorted(row.sum((0, 2), dtype=int).tolist()) for row in rows]  # in any order
    for number, index in enumerate(drawn[1:], 1):
        assert (columns[number] == columns[0]) == (index == drawn[0])
    assert drawn[0] in drawn[1:]
