"""What a run leaves beside the submission: run.json, events.jsonl and a sidecar.

A submission file holds no labels, so the order of its classes stands in ``<dataset>.json`` beside
it; ``evaluate`` reads that. All of it is written after the clock has stopped, but for the settings,
which are written first.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from challenge.budget import Clock
from challenge.disk import sync_folder
from challenge.errors import ChallengeError, OutputError, SubmissionError
from challenge.events import Event
from challenge.locks import FileLock
from challenge.prompts import PromptBook
from challenge.spec import LabelOrder

SCHEMA_VERSION = 1
Usage = Callable[[], dict[str, float]]
LONGEST_LOCK_WAIT_S = 30.0  # for the guard of a killed process to have packed


class EventLog:
    """Writes each event of a run as one JSON line to ``path``, as it happens.

    A resumed run goes on with the log of the first. What ``usage`` tells stands in each line.
    """

    def __init__(self, path: Path, clock: Clock, usage: Usage = dict) -> None:
        self._clock, self._usage = clock, usage
        self.failure: str | None = None
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # what a full disk did not take was told already
            self._file.close()

    def write(self, event: Event) -> None:
        """Append one event with its name, the time it was written and the usage then.

        A log that cannot be written (disk full) must not end a run: it is given up, and
        ``failure`` says why.
        """
        if self.failure is not None:
            return
        stamp = {
            "event": type(event).__name__,
            "t_s": round(self._clock(), 4),
        } | self._usage()
        try:
            self._file.write(json.dumps(stamp | dataclasses.asdict(event)) + "\n")
        except OSError as error:
            self.failure = f"{self._file.name} is incomplete: {error.strerror}"


def key_digest(key: Mapping[str, str | int]) -> str:
    """A name for what belongs to ``key``: the same for the same values in any order."""
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:16]


def write_json(path: Path, document: dict[str, Any], *, durable: bool = False) -> None:
    """Write ``document`` readable by people, replacing ``path`` in one step; ``OSError`` if not.

    With ``durable`` it is on disk when this returns, whatever happens to the machine then.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=2, default=str) + "\n")
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def noting_errors(warnings: list[str]) -> Iterator[None]:
    """Turn a record that cannot be made into a warning: the submission is on disk already."""
    try:
        yield
    except OSError as error:
        warnings.append(f"{error.filename or 'a record'}: not written ({error.strerror})")
    except ChallengeError as error:
        warnings.append(str(error))


@contextlib.contextmanager
def explaining_os_errors(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` on writing below ``path`` into an ``OutputError`` of one line."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write to {path}: {error.strerror}; make room or give another place"
        ) from error


@contextlib.contextmanager
def run_folder(
    path: Path, *, resume: bool, tell: Callable[[str], None] = lambda _: None
) -> Iterator[Path]:
    """The folder of a run, new or to be resumed, for this process alone while the block lasts.

    Folders that were made for it and hold nothing afterwards are taken back. One that is to be
    resumed is waited for, and ``tell`` is told so.
    ``OutputError`` when it is taken, cannot be written, or another process works in it.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        with _locked_run_folder(path, resume, tell):
            try:
                yield path
            finally:
                _remove_empty(made[:1])  # another run may lock it as soon as it is unlocked
    finally:
        _remove_empty(made[1:])


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # not empty, or never made
            folder.rmdir()


@contextlib.contextmanager
def _locked_run_folder(path: Path, resume: bool, tell: Callable[[str], None]) -> Iterator[None]:
    with explaining_os_errors(path):
        if not resume:
            path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        taken = lock.acquire()
        if resume and not taken:
            tell(f"another process is working in {path}; waiting {LONGEST_LOCK_WAIT_S:g} s for it")
            taken = lock.acquire(LONGEST_LOCK_WAIT_S)
        if not taken:
            raise OutputError(
                f"{path}: another run is working in it; wait for its end, or choose another folder"
            )
        try:
            if not resume and any(path.iterdir()):
                raise OutputError(
                    f"{path} is not empty; a run never overwrites: give --out a new folder"
                )
            require_writable(path)
        except BaseException:
            lock.release()
            raise
    try:
        yield
    finally:
        lock.release()


def require_writable(folder: Path) -> None:
    """Raise ``OSError`` when no file can be made in ``folder``."""
    probe = folder / ".writable"
    probe.write_bytes(b"")
    probe.unlink()


def unused_path(path: Path) -> Path:
    """``path``, or where that is taken NAME-2, NAME-3, ...: a record is never overwritten."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if not each.exists())


def discard_records(path: Path) -> None:
    """Take back what a run that never made an image has left: records and an empty journal.

    The folder itself is taken back by ``run_folder``, which knows whether it was there before.
    """
    records = (path / name for name in ("events.jsonl", "run.json", "state.json"))
    for leftover in (*records, *path.glob("*.journal"), *path.glob("decoder-*.safetensors")):
        leftover.unlink(missing_ok=True)


def sidecar_path(submission: Path) -> Path:
    """Where the sidecar of a submission file lies: beside it, under its name."""
    return submission.with_suffix(".json")


def write_sidecar(submission: Path, book: PromptBook, label_order: LabelOrder, sha256: str) -> None:
    """Say which class each label of ``submission`` is."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "dataset": book.dataset,
        "label_order": label_order,
        "sha256": sha256,
        "classes": [entry.wnid or entry.name for entry in book.classes],
    }
    write_json(sidecar_path(submission), document)


def sidecar_warnings(submission: Path, sha256: str | None) -> list[str]:
    """Whether ``submission`` is another file than its sidecar was written for.

    Nothing where the sidecar tells no hash, or cannot be read.
    """
    path = sidecar_path(submission)
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if sha256 in (None, recorded):
        return []
    return [
        f"{submission}: changed or replaced since {path.name} was written, which tells another "
        "sha256"
    ]


def read_label_order(submission: Path) -> LabelOrder | None:
    """The label order that the sidecar of ``submission`` tells; None for a bare file.

    Raises ``SubmissionError`` when the sidecar is damaged.
    """
    path = sidecar_path(submission)
    if not path.exists():
        return None
    try:
        order = json.loads(path.read_text(encoding="utf-8"))["label_order"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SubmissionError(
            f"{path}: no label_order can be read from it; mend it or delete it"
        ) from error
    if order not in ("sorted", "wnids-txt"):
        raise SubmissionError(
            f"{path}: label_order is {order!r}, expected 'sorted' or 'wnids-txt'; "
            "mend it or delete it"
        )
    return order  # type: ignore[no-any-return]
