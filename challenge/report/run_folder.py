"""What a run folder holds, read with patience: a page is made of whatever is there.

A run that was killed has no run.json yet; a disk that filled up left half a line. Whatever cannot
be read is left out, and ``remarks`` says so.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from challenge.errors import ChallengeError, SubmissionError
from challenge.measures.image_sets import ImageSet, image_sets
from challenge.spec import DATASETS, DatasetName
from challenge.submission_layout import round_dirs

Document = Mapping[str, Any]
RUN_FILES = ("run.json", "events.jsonl", "state.json")
NUMBER = (int, float)
KINDS: Mapping[str, tuple[type, ...]] = {  # of what a page shows of run.json
    "verdict": (str, NoneType),
    "elapsed_s": NUMBER,
    "limit_s": NUMBER,
    "problems": (list,),
    "warnings": (list,),
    "settings": (dict,),
    "generator": (dict, NoneType),
    "machine": (dict, NoneType),
    "prompts": (dict,),
    "phases_s": (dict,),
    "plan": (dict, NoneType),
    "plan_vs_actual": (dict, NoneType),
    "datasets": (dict,),
}
DATASET_KINDS: Mapping[str, tuple[type, ...]] = {
    "generated": (int,),
    "ipc": (int,),
    "images_per_s": NUMBER,
    "bytes": (int,),
}


@dataclass(frozen=True)
class RunFolder:
    """The records of one run; ``evaluations`` holds the newest one of each data set."""

    path: Path
    record: Document
    events: list[Document]
    evaluations: dict[DatasetName, Document]
    image_sets: dict[DatasetName, ImageSet]
    remarks: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Short, for a heading; a round is named with its run."""
        path = self.path.resolve()
        return f"{path.parent.name}/{path.name}" if path.name.startswith("round-") else path.name

    def of(self, event: str, dataset: str | None = None) -> list[Document]:
        """The events of one kind, of one data set if asked."""
        return [
            each
            for each in self.events
            if each.get("event") == event and dataset in (None, each.get("dataset"))
        ]


def open_runs(paths: tuple[Path, ...]) -> list[RunFolder]:
    """The runs in these folders, each round as a run of its own.

    Raises:
        SubmissionError: a folder holds nothing of a run.
    """
    return [_open_run(folder) for path in paths for folder in _run_dirs(path)]


def _run_dirs(path: Path) -> list[Path]:
    if not path.is_dir():
        raise SubmissionError(f"{path}: no such folder; give a run folder")
    return round_dirs(path) or [path]


def _open_run(path: Path) -> RunFolder:
    remarks: list[str] = []
    sets = _image_sets(path, remarks)
    if not sets and not any((path / name).exists() for name in RUN_FILES):
        found = "; ".join(remarks) or "no run.json, no journal, no submission"
        raise SubmissionError(
            f"{path} holds nothing of a run that can be shown ({found}); "
            "give the folder that generate wrote"
        )
    record = _read_record(path / "run.json", remarks)
    events = _read_events(path / "events.jsonl", remarks)
    return RunFolder(path, record, events, _read_evaluations(path, remarks), sets, remarks)


def _image_sets(path: Path, remarks: list[str]) -> dict[DatasetName, ImageSet]:
    """The images of each data set that has any; a file that cannot be read is a remark."""
    found: dict[DatasetName, ImageSet] = {}
    for name, spec in DATASETS.items():
        if not any((path / file).exists() for file in (f"{name}.journal", spec.file_name)):
            continue
        try:
            (found[name],) = image_sets(path, (spec,))
        except ChallengeError as error:
            remarks.append(f"no pictures of {spec.title}: {error}")
    return found


def _read_record(path: Path, remarks: list[str]) -> Document:
    if not path.exists():
        remarks.append("no run.json: the run is not finished, or was killed")
        return {}
    record = {
        key: value
        for key, value in _read_object(path, remarks).items()
        if _is_of_kind(key, value, KINDS, path.name, remarks)
    }
    if "datasets" not in record:
        return record
    record["datasets"] = {
        name: entry
        for name, entry in record["datasets"].items()
        if _is_of_kind(name, entry, {name: (dict,)}, path.name, remarks)
        and all(
            _is_of_kind(key, entry.get(key), DATASET_KINDS, f"{path.name}, {name}", remarks)
            for key in DATASET_KINDS
        )
    }
    for name, spec in DATASETS.items():
        if entry := record["datasets"].get(name):
            _compare_file(path.with_name(spec.file_name), entry["bytes"], remarks)
    return record


def _is_of_kind(
    key: str,
    value: object,
    kinds: Mapping[str, tuple[type, ...]],
    where: str,
    remarks: list[str],
) -> bool:
    """Whether a value can be what is written under its name; what cannot is left out."""
    if key not in kinds or isinstance(value, kinds[key]):
        return True
    remarks.append(f"{where}: {key} is {value!r:.40}, which cannot be read")
    return False


def _compare_file(path: Path, recorded_bytes: int, remarks: list[str]) -> None:
    """Tell what became of a submission file since its record was written."""
    if not path.is_file():
        remarks.append(f"{path.name} is not there any more: what follows is told by run.json")
    elif path.stat().st_size != recorded_bytes:
        found = f"{path.stat().st_size:,} bytes, and run.json tells of {recorded_bytes:,}"
        remarks.append(f"{path.name} was changed since: it has {found}")


def _read_object(path: Path, remarks: list[str]) -> Document:
    """A JSON object; an empty one, and a remark, for anything else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        remarks.append(f"{path.name} cannot be read: {error}")
        return {}
    if not isinstance(document, dict):
        remarks.append(f"{path.name} holds no object")
        return {}
    return document


def _read_events(path: Path, remarks: list[str]) -> list[Document]:
    """All whole lines of the log."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        remarks.append("no events.jsonl: no timeline")
        return []
    events: list[Document] = []
    damaged = 0
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict) and isinstance(event.get("t_s"), int | float):
            events.append(event)
        else:
            damaged += 1
    if damaged:
        remarks.append(f"events.jsonl: {damaged} of {len(lines)} lines cannot be read")
    return events


def _read_evaluations(path: Path, remarks: list[str]) -> dict[DatasetName, Document]:
    """The newest evaluation of each data set, with its protocol and network.

    That of a run of several rounds lies in the folder above.
    """
    own = path.resolve()
    folders = [own.parent, own] if own.name.startswith("round-") else [own]
    files = [file for folder in folders for file in folder.glob("evaluation*.json")]
    newest: dict[DatasetName, Document] = {}
    for file in sorted(files, key=lambda each: each.stat().st_mtime):
        document = _read_object(file, remarks)
        submissions = document.get("submissions", ())
        for submission in submissions:
            named = Path(submission.get("path", "")).resolve()
            ours = {folder.name for folder in folders} & {named.name, named.parent.name}
            if len(submissions) > 1 and not ours:
                continue  # of another run, compared in the same call
            for name, found in submission.get("datasets", {}).items():
                context = {key: document.get(key) for key in ("protocol", "network", "comparable")}
                newest[name] = {**found, **context, "file": file.name}
    return newest
