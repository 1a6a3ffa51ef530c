"""Locks between processes, on files and folders that are there anyway.

The operating system frees a lock when its process ends, however it ends, so none is left behind.
"""

import fcntl
import os
from pathlib import Path


class FileLock:
    """An exclusive lock on an existing file or folder (flock(2)); held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free; True also when it is held already by this object.

        Raises ``OSError`` when the path cannot be opened or its file system knows no locks.
        """
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
