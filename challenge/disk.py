"""What it takes for a file to be there after the power fails."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Force what was created, renamed or deleted in this folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
