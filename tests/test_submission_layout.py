from pathlib import Path

import pytest

from challenge.errors import SubmissionError
from challenge.submission_layout import files_by_dataset, round_dirs


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_file_is_itself(tmp_path: Path) -> None:
    assert files_by_dataset(tmp_path / "some.pt") == {None: [tmp_path / "some.pt"]}


def test_a_run_folder_holds_one_file_a_data_set(tmp_path: Path) -> None:
    touch(tmp_path / "tinyimagenet.pt", tmp_path / "cifar100.pt", tmp_path / "other.pt")
    assert files_by_dataset(tmp_path) == {
        "cifar100": [tmp_path / "cifar100.pt"],
        "tinyimagenet": [tmp_path / "tinyimagenet.pt"],
    }


def test_rounds_are_ordered_by_their_number(tmp_path: Path) -> None:
    files = [tmp_path / f"round-{number}" / "cifar100.pt" for number in range(1, 12)]
    touch(*files)
    assert files_by_dataset(tmp_path) == {"cifar100": files}
    assert round_dirs(tmp_path) == [file.parent for file in files]


def test_a_round_that_is_missing_is_told(tmp_path: Path) -> None:
    touch(tmp_path / "round-1" / "cifar100.pt", tmp_path / "round-3" / "cifar100.pt")
    with pytest.raises(SubmissionError, match="no round-2; number the rounds"):
        files_by_dataset(tmp_path)


def test_a_file_that_a_round_lacks_is_told(tmp_path: Path) -> None:
    touch(tmp_path / "round-1" / "cifar100.pt")
    (tmp_path / "round-2").mkdir()
    with pytest.raises(SubmissionError, match=r"round-2/cifar100\.pt is missing"):
        files_by_dataset(tmp_path)


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match=r"neither cifar100\.pt nor tinyimagenet\.pt"):
        files_by_dataset(tmp_path)
