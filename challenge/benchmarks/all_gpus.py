"""The same benchmark on every GPU of a machine, side by side: one process and one row for each."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from challenge.benchmarks import child
from challenge.errors import ChallengeError, DeviceError
from challenge.settings import BenchmarkSettings

Say = Callable[[str], None]


class Process(Protocol):
    """A benchmark that was started."""

    def document(self) -> dict[str, Any]:
        """What it found, once it has ended; raises ``ChallengeError`` if nothing."""


class ChildProcess:
    """A benchmark in a process of its own."""

    def __init__(self, settings: BenchmarkSettings) -> None:
        self._process = child.start(child.benchmark_arguments(settings))

    def document(self) -> dict[str, Any]:
        """What it printed."""
        return child.finish(self._process)


Launch = Callable[[BenchmarkSettings], Process]


def measure_all(
    settings: BenchmarkSettings, gpus: int, say: Say, launch: Launch = ChildProcess
) -> dict[str, Any]:
    """One document: the fastest row of each GPU, their sum, and each GPU's whole document.

    Raises ``DeviceError`` when there is no GPU, ``ChallengeError`` when none could be measured.
    """
    if gpus == 0:
        raise DeviceError("--all-gpus: torch sees no GPU; leave it away to measure the CPU")
    devices = [f"cuda:{index}" for index in range(gpus)]
    alone = replace(settings, all_gpus=False, record=None, json=True)
    processes = {device: launch(replace(alone, device=device)) for device in devices}
    documents: dict[str, dict[str, Any]] = {}
    for device, process in processes.items():
        try:
            documents[device] = process.document()
        except ChallengeError as error:
            documents[device] = {"error": str(error)}
        say(f"{device}: {_in_words(documents[device])}")
    rows = [_row(device, document) for device, document in documents.items()]
    if all(row["error"] for row in rows):
        raise ChallengeError(f"no GPU could be measured, {devices[0]} since: {rows[0]['error']}")
    return {
        "schema_version": 1,
        "device": f"{gpus} GPUs",
        "rows": rows,
        "images_per_s": sum(row["images_per_s"] or 0.0 for row in rows),
        "gpus": documents,
    }


def _row(device: str, document: dict[str, Any]) -> dict[str, Any]:
    """The fastest row of one GPU."""
    if error := document.get("error"):
        return {"gpu": device, "images_per_s": None, "error": error}
    return {"gpu": device, "name": document["device"], **document["best"]}


def _in_words(document: dict[str, Any]) -> str:
    if error := document.get("error"):
        return str(error)
    best = document["best"]
    return f"{document['device']}, {best['images_per_s']:.4g} images/s, batch {best['batch_size']}"
