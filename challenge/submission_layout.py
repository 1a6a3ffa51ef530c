"""Where the files of a submission lie: beside each other, or a folder for each round.

RUN_DIR/cifar100.pt  RUN_DIR/tinyimagenet.pt
RUN_DIR/round-1/cifar100.pt  RUN_DIR/round-2/cifar100.pt  ...
"""

from pathlib import Path

from challenge.errors import SubmissionError
from challenge.spec import DATASETS, DatasetName


def round_dirs(run_dir: Path) -> list[Path]:
    """The folders of the rounds, in order; none where the run has one set only.

    Raises:
        SubmissionError: a number is missing.
    """
    found = {path.name: path for path in run_dir.glob("round-*") if path.is_dir()}
    expected = [f"round-{number}" for number in range(1, len(found) + 1)]
    if missing := [name for name in expected if name not in found]:
        raise SubmissionError(
            f"{run_dir} holds {', '.join(sorted(found))} and no {missing[0]}; "
            "number the rounds from 1 without a gap"
        )
    return [found[name] for name in expected]


def files_by_dataset(path: Path) -> dict[DatasetName | None, list[Path]]:
    """The submission files that ``path`` means, by data set, one or one a round.

    A file stands under None: its content says what it is.

    Raises:
        SubmissionError: there is none, or a round lacks a file that another has.
    """
    if not path.is_dir():
        return {None: [path]}
    folders = round_dirs(path) or [path]
    found: dict[DatasetName | None, list[Path]] = {}
    for spec in DATASETS.values():
        files = [folder / spec.file_name for folder in folders]
        present = [file for file in files if file.exists()]
        if present and len(present) < len(files):
            absent = next(file for file in files if file not in present)
            raise SubmissionError(
                f"{absent} is missing, other rounds have theirs; make the round again"
            )
        if present:
            found[spec.name] = files
    if not found:
        names = " nor ".join(spec.file_name for spec in DATASETS.values())
        raise SubmissionError(f"{path} holds neither {names}; give the folder of a run")
    return found
