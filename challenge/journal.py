"""Every image that was made, on disk as soon as it is made: one append-only file a data set.

A process that is killed loses what it had not handed to the operating system, two batches at most.
A loss of power also costs what was not yet forced to disk, about a second. A cut last record is
dropped whole, so that a resumed run repeats its batch as it was. The format: journal_format.py.

    with JournalWriter(path, {"model": "sdxl-turbo", "seed": 0}, spec.image_shape) as writer:
        writer.append(JournalBatch([(4, 0, 0), (7, 0, 0)], images))
        fours = writer.reader().read(4)
"""

import contextlib
import functools
import io
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from jaxtyping import UInt8
from torch import Tensor

from challenge.errors import JournalError
from challenge.journal_format import (
    JournalHeader,
    RecordedBatch,
    encode_record,
    find_record,
    read_record,
)
from challenge.rounds import Place

SYNC_INTERVAL_S = 1.0


class Journal:
    """The images in a journal, by class and round; also while a writer is appending to it.

    ``header.settings`` are the writer's, ``batches`` are in the order of the file. Of several
    attempts at an image the last counts. ``valid_bytes`` is where the last whole record ends,
    ``dropped_bytes`` how much lies behind: a record that was cut, or is just being written.
    Pixels stay on disk until they are read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.header = JournalHeader.read(file)
                self.valid_bytes = file.tell()
        except (OSError, ValueError) as error:
            raise _cannot("read", path, error) from error
        self.image_shape = self.header.image_shape
        self.batches: list[RecordedBatch] = []
        self.dropped_bytes = 0
        self._places: dict[int, dict[int, tuple[int, int]]] = {}  # class, round: attempt, offset

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Read the header and find all records.

        Raises:
            JournalError: it cannot be read, it is not a journal, or whole records follow damage.
        """
        journal = cls(path)
        journal.refresh()
        return journal

    def refresh(self) -> None:
        """Find the records that were appended since the last time."""
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                while record := read_record(file, self.valid_bytes, size, self.image_shape):
                    self._add(record)
                if size < self.valid_bytes:
                    raise OSError("it has become shorter")
                self.dropped_bytes = size - self.valid_bytes
                if self.dropped_bytes:
                    self._refuse_damage_before(
                        find_record(file, self.valid_bytes, size, self.image_shape)
                    )
        except OSError as error:
            raise _cannot("read", self.path, error) from error

    def counts(self) -> dict[int, int]:
        """Distinct images of each class that has any."""
        return {class_index: len(rounds) for class_index, rounds in self._places.items()}

    def complete_rounds(self, num_classes: int) -> int:
        """How many rounds, from the first on, have an image of every class."""
        made = [self._places.get(class_index, {}) for class_index in range(num_classes)]
        complete = 0
        while all(complete in rounds for rounds in made):
            complete += 1
        return complete

    def rounds(self, class_index: int) -> list[int]:
        """The rounds that have an image of this class, ascending: those of ``read``."""
        return sorted(self._places.get(class_index, {}))

    def read(self, class_index: int) -> UInt8[Tensor, "N 3 S S"]:
        """The images of one class, ordered by round: of each picture the first view."""
        return self.read_views(class_index)[:, 0]

    def read_views(self, class_index: int, most: int | None = None) -> UInt8[Tensor, "N V 3 S S"]:
        """All views of the pictures of one class, ordered by round; of ``most`` at most."""
        rounds = self.rounds(class_index)[:most]
        images = torch.empty((len(rounds), *self.image_shape), dtype=torch.uint8)
        try:
            with self.path.open("rb", buffering=0) as file:
                for round_index, image in zip(rounds, images.numpy(), strict=True):
                    file.seek(self._places[class_index][round_index][1])
                    if file.readinto(image.data) != image.nbytes:
                        raise OSError("it has become shorter")
        except OSError as error:
            raise _cannot("read", self.path, error) from error
        channels, height, width = self.image_shape
        return images.view(len(rounds), channels // 3, 3, height, width)

    def _add(self, record: RecordedBatch) -> None:
        image_bytes = math.prod(self.image_shape)
        for number, (class_index, round_index, attempt) in enumerate(record.accepted):
            rounds = self._places.setdefault(class_index, {})
            if attempt >= rounds.get(round_index, (0, 0))[0]:
                rounds[round_index] = (attempt, record.pixels_at + number * image_bytes)
        self.batches.append(record)
        self.valid_bytes = record.end

    def _refuse_damage_before(self, record_at: int | None) -> None:
        if record_at is not None:
            images = sum(len(batch.accepted) for batch in self.batches)
            raise JournalError(
                f"{self.path}: bytes {self.valid_bytes} to {record_at} are damaged, but a batch "
                "follows, expected damage at the end only; look after the disk, or cut the file to "
                f"{self.valid_bytes} bytes to keep the {images} images before"
            )


@dataclass(frozen=True)
class JournalBatch:
    """Images made together, what each one is, and what was rejected beside them.

    Once appended it must not be changed.
    """

    accepted: Sequence[Place]
    images: UInt8[Tensor, "B C S S"]
    rejected: Sequence[Place] = ()

    def __post_init__(self) -> None:
        if len(self.accepted) != len(self.images):
            raise ValueError(f"{len(self.images)} images, and {len(self.accepted)} places for them")
        if not self.accepted and not self.rejected:
            raise ValueError("a batch of no images")


class JournalWriter:
    """Appends batches in order from a thread, and forces them to disk about every second.

    A journal that exists is continued: its damaged end is cut off, and its header must be equal.
    What goes wrong in the thread (disk full, ...) is raised by the next call, whichever it is.

    Raises:
        JournalError: the file cannot be written, or it is another run's journal.
    """

    def __init__(
        self,
        path: Path,
        header: Mapping[str, object],
        image_shape: tuple[int, ...],
        *,
        sync_interval_s: float = SYNC_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._journal = _create_or_continue(path, JournalHeader(image_shape, header))
        self._sync_interval_s, self._clock = sync_interval_s, clock
        self._synced_s = clock()
        self._unsynced = False
        self._written = 0
        self._error: OSError | MemoryError | None = None
        try:
            self._file = path.open("r+b", buffering=0)
            self._file.truncate(self._journal.valid_bytes)
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise _cannot("write", path, error) from error
        # one batch waits here while the thread writes another: two in flight
        self._queue: queue.Queue[JournalBatch | None] = queue.Queue(maxsize=1)
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    @property
    def batches(self) -> list[RecordedBatch]:
        """What was in the journal when it was continued."""
        return self._journal.batches

    @property
    def written(self) -> int:
        """Images that this writer handed to the operating system."""
        self._raise_if_failed()
        return self._written

    def append(self, batch: JournalBatch) -> None:
        """Hand a batch over; waits while two are in flight."""
        self._raise_if_failed()
        if not self._thread.is_alive():
            raise ValueError(f"{self.path} is closed")
        if batch.images.shape[1:] != self._journal.image_shape:
            found, expected = tuple(batch.images.shape[1:]), self._journal.image_shape
            raise ValueError(f"images of shape {found}, expected {expected}")
        self._queue.put(batch)

    def reader(self) -> Journal:
        """The journal with all that was appended so far; waits until it is written."""
        self._queue.join()
        self._raise_if_failed()
        self._journal.refresh()
        return self._journal

    def close(self) -> None:
        """Write what is in flight, force it to disk and end the thread."""
        self._end_thread()
        self._raise_if_failed()

    def __enter__(self) -> "JournalWriter":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_thread()
        if exc is None:  # else that error is the one to show
            self._raise_if_failed()

    def _end_thread(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
            self._file.close()

    def _raise_if_failed(self) -> None:
        if self._error:
            raise _cannot("write", self.path, self._error) from self._error

    def _work(self) -> None:
        """The thread; after an error it goes on taking batches, so that no caller waits for it."""
        while (batch := self._take()) is not None:
            self._attempt(functools.partial(self._write, batch))
            self._queue.task_done()
        self._attempt(self._sync)

    def _take(self) -> JournalBatch | None:
        """The next batch; when a sync is due before one comes, that is done first."""
        if self._unsynced:
            wait_s = self._synced_s + self._sync_interval_s - self._clock()
            if wait_s > 0:
                with contextlib.suppress(queue.Empty):
                    return self._queue.get(timeout=wait_s)
            self._attempt(self._sync)
        return self._queue.get()

    def _attempt(self, action: Callable[[], None]) -> None:
        """Do it unless something went wrong before; keep what goes wrong for the next call."""
        if self._error is None:
            try:
                action()
            except (OSError, MemoryError) as error:
                self._error = error

    def _write(self, batch: JournalBatch) -> None:
        record = encode_record(batch.accepted, batch.rejected, batch.images)
        left = memoryview(record)
        while left:
            left = left[self._file.write(left) :]
        self._written += len(batch.images)
        self._unsynced = True

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced_s = self._clock()
        self._unsynced = False


def _create_or_continue(path: Path, header: JournalHeader) -> Journal:
    """The journal at ``path``, which gets the header, or what a cut left out of it."""
    first_line = header.encode()
    try:
        with path.open("a+b") as file:
            file.seek(0)
            start = file.read(len(first_line))
            if first_line.startswith(start):
                file.write(first_line[len(start) :])
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise _cannot("write", path, error) from error
    journal = Journal.open(path)
    _require_equal(path, journal.header, JournalHeader.read(io.BytesIO(first_line)))
    return journal


def _require_equal(path: Path, found: JournalHeader, expected: JournalHeader) -> None:
    """Name the first setting in which another run's journal differs."""
    ours = {"image_shape": expected.image_shape, **expected.settings}
    theirs = {"image_shape": found.image_shape, **found.settings}
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            raise JournalError(
                f"{path}: its {key} is {theirs.get(key)!r}, this run's is {ours.get(key)!r}; "
                "continue with the settings of the first run, or choose a new folder"
            )


def _cannot(verb: str, path: Path, error: OSError | ValueError | MemoryError) -> JournalError:
    reason = (isinstance(error, OSError) and error.strerror) or error
    advice = "check the disk" if verb == "write" else "give a journal that this program wrote"
    return JournalError(f"{path}: cannot {verb} the journal ({reason}); {advice}")
