import re
from pathlib import Path

import pytest
from report_runs import write_evaluation, write_images, write_run

from challenge.errors import OutputError
from challenge.report.page import MARK, flat, render, write_page
from challenge.report.run_folder import open_runs


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_evaluation(folder)
    text = render(open_runs((folder,)), None, 3)
    for address in re.findall(r"(?:src|href)=\"([^\"]*)\"", text):
        assert address.startswith(("data:", "#"))
    # names of XML formats and of matplotlib's metadata are no links
    loaded = re.findall(r"url\((?!#)|@import|<link|<iframe", text)
    assert loaded == []
    assert "VALID" in text
    assert "&lt;b&gt;watch&lt;/b&gt; this" in text
    assert "told worst" in text.lower()


def test_runs_side_by_side_begin_with_what_differs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, seed=seed, out=name) for name, seed in (("a", 1), ("b", 2))]
    write_evaluation(runs[1])
    text = render(open_runs(tuple(runs)), None, 1)
    head = text[: text.index("<article")]
    assert "2 runs side by side" in head
    assert "<td>seed</td><td>1</td><td>2</td>" in head
    assert "<td>model</td>" not in head
    assert "<td>out</td>" not in head
    assert "50.00% ± 1.00% over 2 rounds" in head
    assert "side by side" not in render(open_runs((runs[0],)), None, 1)


def test_a_killed_run_gives_a_page_of_what_there_is(tmp_path: Path) -> None:
    write_images(tmp_path)
    text = render(open_runs((tmp_path,)), None, 2)
    assert "not finished" in text
    assert text.count('class="class"') == 100


def test_real_images_stand_beside_the_made_ones(tmp_path: Path, many_real_images: Path) -> None:
    run = write_run(tmp_path / "run")
    text = render(open_runs((run,)), many_real_images, 2)
    assert text.count('class="strip real"') == 100
    assert "2 real images of apple" in text


def test_a_page_of_ours_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    write_page(path, MARK + "first")
    write_page(path, MARK + "second")
    assert path.read_text() == MARK + "second"
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]
    path.write_text("my notes")
    with pytest.raises(OutputError, match="no page of this command"):
        write_page(path, MARK)
    assert path.read_text() == "my notes"
    with pytest.raises(OutputError, match="no page of this command"):
        write_page(path.parent, MARK)


def test_nested_values_become_one_list() -> None:
    assert flat({"a": {"b": 1, "c": None}, "d": [2]}) == {"a.b": "1", "a.c": "", "d": "[2]"}
