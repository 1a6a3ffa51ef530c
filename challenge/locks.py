"""Locks between processes, on files and folders that are there anyway.

The operating system frees a lock when its process ends, however it ends, so none is left behind.
"""

import fcntl
import os
import time
from pathlib import Path

POLL_S = 0.05


class FileLock:
    """An exclusive lock on an existing file or folder (flock(2)); held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, longest_wait_s: float = 0.0) -> bool:
        """Take the lock, if need be when it becomes free; True also when this object holds it.

        Raises ``OSError`` when the path cannot be opened or its file system knows no locks.
        """
        give_up_s = time.monotonic() + longest_wait_s
        while not (taken := self._try()) and time.monotonic() < give_up_s:
            time.sleep(POLL_S)
        return taken

    def _try(self) -> bool:
        if self._descriptor is not None:
            return True
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
