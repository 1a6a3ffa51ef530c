from pathlib import Path

import pytest

from challenge.embedded_training.__main__ import main
from challenge.embedded_training.settings import TrainingSettings
from challenge.errors import UsageError


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("generator_steps", 0, r"--generator-steps 0 is too few; give at least 1"),
        ("made_per_class", 1, r"--made-per-class 1 is too few; give at least 2"),
        ("learning_rate", float("nan"), r"--learning-rate nan cannot be; give a number above 0"),
        ("save_every_s", float("inf"), r"--save-every-s inf cannot be; give a number above 0"),
        ("class_weight", -0.1, r"--class-weight -0.1 is no weight; give 0 or more"),
        ("early_steps", -1, r"--early-steps -1 is too few; give at least 0"),
        ("seed", 2**64, r"--seed 18446744073709551616 cannot be; give a whole number from 0 to"),
    ],
)
def test_numbers_that_cannot_be_are_refused(name: str, value: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainingSettings(data=Path("data"), out=Path("out"), **{name: value})  # type: ignore[arg-type]


def test_a_missing_data_set_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = told(capsys, tmp_path, tmp_path / "out")
    assert code == 1
    assert "cifar-100-python" in line
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    code, line = told(capsys, tmp_path, tmp_path / "file")
    assert (code, line) == (
        2,
        f"{tmp_path / 'file'} is a file, expected a folder; give another --out",
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_there_must_be_a_unet_to_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = told(capsys, tmp_path, tmp_path / "out", "--export-now")
    assert code == 2
    assert line.endswith("so no UNet to export; train first, without --export-now")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_damaged_recipe_is_told_before_any_image_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "recipe.json").write_text(content)
    code, line = told(capsys, tmp_path / "no data", tmp_path)
    assert code == 2
    assert line.startswith(f"{tmp_path / 'recipe.json'} is damaged (")


def told(capsys: pytest.CaptureFixture[str], data: Path, out: Path, *flags: str) -> tuple[int, str]:
    """Exit code and the one line on stderr."""
    code = main(["--data", str(data), "--out", str(out), "--device", "cpu", *flags])
    (line,) = capsys.readouterr().err.splitlines()
    return code, line


def test_help_names_the_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    assert "--export-now" in capsys.readouterr().out
