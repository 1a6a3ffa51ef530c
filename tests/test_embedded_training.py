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
    ],
)
def test_numbers_that_cannot_be_are_refused(name: str, value: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainingSettings(data=Path("data"), out=Path("out"), **{name: value})  # type: ignore[arg-type]


def test_a_missing_data_set_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu"])
    assert code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cifar-100-python" in line


def test_help_names_the_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    assert "--export-now" in capsys.readouterr().out
