"""Asks the operating system for a model's files while Python still imports its libraries.

Reading 5 GB from a cold disk takes longer than all imports. The kernel reads into its page cache in
the background, so that loading later finds the bytes in memory; where it cannot, nothing is lost.
"""

import os
import threading
from collections.abc import Sequence
from pathlib import Path


def read_ahead(files: Sequence[Path]) -> threading.Thread | None:
    """Begin to read ``files`` in this order, in a thread that ends with the process.

    None where the system has no such call.
    """
    if not hasattr(os, "posix_fadvise"):
        return None
    thread = threading.Thread(target=_advise, args=(tuple(files),), name="read-ahead", daemon=True)
    thread.start()
    return thread


def _advise(files: Sequence[Path]) -> None:
    for path in files:
        try:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        except OSError:
            continue  # loading will tell what is wrong with it
