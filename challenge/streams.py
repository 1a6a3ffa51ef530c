"""Standard output and error that never end or hold up a run: perhaps nobody reads them any more.

A reader that is gone (a pipe or terminal that was closed) is no fault: what is written to it goes
nowhere. One that has stopped reading (a paused terminal, a connection that hangs) is waited for by
results, on stdout, as usual; progress, on stderr, is left out until it reads again.
"""

import errno
import io
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NOBODY_READS = (errno.EPIPE, errno.EIO)  # of a pipe and of a terminal
PATIENCE_S = 1.0  # progress waits once for a reader that may only be slow


class _Results(io.FileIO):
    """Writes to a descriptor until that fails; from then on everything goes nowhere."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "w", closefd=False)
        self.failure: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        """How many bytes are done with; never raises ``OSError``."""
        while self.failure is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.failure = error
            else:
                if written is not None:
                    return written
                select.select([], [self], [])  # somebody has made the descriptor non-blocking
        return memoryview(data).nbytes


class _Progress(_Results):
    """Has a thread write, and waits for it once; what comes while it waits is left out."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._piece = b""
        self._todo, self._idle = threading.Semaphore(0), threading.Event()
        self._idle.set()
        threading.Thread(target=self._write_pieces, name="progress", daemon=True).start()

    def write(self, data: "ReadableBuffer", /) -> int:
        """How many bytes are done with: written, on their way, or left out."""
        piece = bytes(data)
        if self._idle.is_set():
            self._piece = piece
            self._idle.clear()
            self._todo.release()
            self._idle.wait(PATIENCE_S)
        return len(piece)

    def _write_pieces(self) -> None:
        while True:
            self._todo.acquire()
            left = self._piece
            while left:
                left = left[super().write(left) :]
            self._idle.set()


class Streams:
    """The two streams of this process while ``own_streams`` lasts."""

    def __init__(self, results: _Results | None = None) -> None:
        self._results = results

    def lost_results(self) -> str | None:
        """Why results for a reader that is there were not written, such as a full disk."""
        sys.stdout.flush()
        failure = self._results and self._results.failure
        if not failure or failure.errno in NOBODY_READS:
            return None
        return failure.strerror or str(failure)


@contextmanager
def own_streams() -> Iterator[Streams]:
    """Put ``sys.stdout`` and ``sys.stderr`` through this module for as long as the block lasts.

    Streams that somebody else has put there (a notebook, a test) stay as they are.
    """
    before = sys.stdout, sys.stderr
    if before != (sys.__stdout__, sys.__stderr__):
        yield Streams()
        return
    stdout, stderr = (_open_stream(stream) for stream in before)
    results = _Results(stdout.fileno())
    sys.stdout = _text(results, stdout)
    sys.stderr = _text(_Progress(stderr.fileno()), stderr)
    try:
        yield Streams(results)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _open_stream(stream: TextIO | None) -> TextIO:
    """The stream, with nothing left in it; one that was closed (``2>&-``) leads nowhere."""
    if stream is None:
        return Path(os.devnull).open("w")
    stream.flush()
    return stream


def _text(output: _Results, like: TextIO) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=like.encoding,
        errors=like.errors,
        line_buffering=True,  # so that a log of both has their lines in order
    )
