import json
from pathlib import Path

import pytest
from conftest import CliRunner
from report_runs import write_run


def test_a_real_run_gets_its_page(run_cli: CliRunner, tiny_run: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    code, out, _ = run_cli("report", tiny_run, "--out", page, "--json")
    found = json.loads(out.splitlines()[-1])
    text = page.read_text()
    assert code == 0
    assert found["schema_version"] == 1
    assert found["bytes"] == len(text.encode()) < 20_000_000
    assert "200 images: distinct images as made" in text
    assert "planned and actual seconds by phase" in text
    assert "GiB in use" in text


def test_the_page_lies_in_the_run_folder_and_is_made_anew(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run")
    for _ in range(2):
        code, out, _ = run_cli("report", folder)
        assert code == 0
    assert str(folder / "report.html") in out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("nowhere",), 1, "nowhere: no such folder"),
        (("nowhere", "--images-per-class", "0"), 2, "--images-per-class 0 is not a count"),
    ],
)
def test_what_cannot_be_shown_is_told_in_a_line(
    arguments: tuple[str, ...], code: int, told: str, run_cli: CliRunner
) -> None:
    found, _, errors = run_cli("report", *arguments)
    assert found == code
    assert told in errors
    assert "Traceback" not in errors


def test_a_file_of_somebody_else_is_not_replaced(run_cli: CliRunner, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "report.html").write_text("my own page")
    code, _, errors = run_cli("report", folder)
    assert code == 2
    assert "no page of this command; give --out" in errors
    assert (folder / "report.html").read_text() == "my own page"
