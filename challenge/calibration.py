"""What runs on this machine cost, remembered: one small JSON file a device, model and settings.

Only costs measured under the same conditions are used. A file that is damaged, that belongs to
something else, or that other versions of the packages left is not used, and the reason is told; a
run then guesses from its own warm-up. Nothing in here can end a run.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

from challenge.forecast import DatasetCosts, MeasuredCosts
from challenge.records import key_digest, write_json
from challenge.settings import GenerateSettings, selected_specs
from challenge.spec import DATASETS, DatasetName

SCHEMA_VERSION = 1
GLIMPSE = 0.1  # a measurement this much shorter than the one before does not replace it

Source = Literal["run", "dry run"]
Key = Mapping[str, str | int]
Packages = Mapping[str, str | None]


@dataclass(frozen=True)
class Calibration:
    """Costs that were measured, when, by what and with which package versions."""

    key: Key
    measured_at: str
    source: Source
    packages: Packages
    costs: MeasuredCosts

    @property
    def basis(self) -> str:
        """Where the numbers come from, in words."""
        return f"measured here by a {self.source} on {self.measured_at[:16].replace('T', ' ')}"

    def batch_sizes(self) -> dict[DatasetName, int]:
        """The batch size that was settled on for each data set, where one was."""
        found = {name: self.costs.datasets.get(name) for name in DATASETS}
        return {
            name: costs.batch_size
            for name, costs in found.items()
            if costs is not None and costs.batch_size is not None
        }


def cache_dir(given: Path | None) -> Path:
    """The cache folder: ``--cache-dir``, else what the environment names, else ~/.cache."""
    if given is not None:
        return given.expanduser()
    if named := os.environ.get("CHALLENGE_CACHE_DIR"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "challenge"


def prepared_dir(given: Path | None) -> Path:
    """Where the ``prepare`` command keeps embeddings and decoders, in the cache folder."""
    return cache_dir(given) / "prepared"


def calibration_key(
    settings: GenerateSettings, device: str, dtype: str, prompts: str | int, run_dir: Path
) -> Key:
    """What must be the same for a cost to be the same: the model, the device, the disk, ..."""
    path = Path(settings.model).expanduser()
    model = str(path.resolve()) if path.exists() else settings.model
    return {
        "device": device,
        "model": model if settings.unet is None else f"{settings.unet} on {model}",
        "dtype": dtype,
        "dataset": settings.dataset,
        "augment": settings.augment,
        "decoder": settings.decoder,
        "compile": settings.compile,
        "quantize": settings.quantize,
        "num_inference_steps": settings.num_inference_steps,
        "framing": f"{settings.framing} {settings.views} {settings.match_colour}",
        "batch_size": settings.batch_size,
        "prompts": prompts,
        "disk": str(_mount_point(run_dir)),
    }


def _mount_point(folder: Path) -> Path:
    """Where the file system begins that holds ``folder``."""
    path = folder.resolve()
    while not path.is_mount():
        path = path.parent
    return path


class CalibrationFile:
    """The file for runs under the conditions ``key``: what it held, and how to replace it.

    ``notice`` says in a sentence why a file that is there was not used.
    """

    def __init__(self, folder: Path, key: Key, packages: Packages) -> None:
        self._key, self._packages = key, packages
        self.path = folder / f"calibration-{key_digest(key)}.json"
        self.found, self.notice = self._load()

    def _load(self) -> tuple[Calibration | None, str | None]:
        try:
            found = _parse(json.loads(self.path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None, None
        except OSError as error:
            return None, f"{self.path} cannot be read ({error.strerror}): the plan is a guess"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            return None, f"{self.path} is damaged ({reason}): the plan is a guess; delete the file"
        if dict(found.key) != dict(self._key):
            reason = "was measured for another device, model or setting"
            return None, f"{self.path} {reason}: the plan is a guess; delete the file"
        changed = _changed_packages(found.packages, self._packages)
        if changed:
            return None, f"the costs {found.basis} are out of date, {changed}: the plan is a guess"
        return found, None

    def save(self, source: Source, costs: MeasuredCosts) -> Calibration:
        """Write ``costs``, replacing the file in one step; gives back what it holds now.

        Where the file's were measured over ten times as many seconds, its images and files stay: a
        dry run of seconds does not overwrite what a run of ten minutes knew. Raises ``OSError``
        when the folder cannot be written.
        """
        if self.found is not None:
            costs = _longer(costs, self.found.costs)
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        calibration = Calibration(self._key, now, source, self._packages, costs)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"schema_version": SCHEMA_VERSION, **asdict(calibration)})
        return calibration


def _longer(new: MeasuredCosts, old: MeasuredCosts) -> MeasuredCosts:
    """The new costs, but of each data set those that were measured over far more seconds."""
    kept = {
        name: costs
        for name, costs in old.datasets.items()
        if name in new.datasets and new.datasets[name].generate_s < GLIMPSE * costs.generate_s
    }
    return replace(new, datasets=new.datasets | kept)


def _changed_packages(then: Packages, now: Packages) -> str:
    """What changed, as "torch was 2.14.0 and is 2.15.0"; empty when nothing did."""
    changes = [
        f"{name} was {then.get(name) or 'missing'} and is {now.get(name) or 'missing'}"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]
    return ", ".join(changes)


def _parse(document: Any) -> Calibration:
    """A calibration from JSON; ``ValueError``, ``KeyError``, ... when it is none."""
    if document["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version is {document['schema_version']}, not {SCHEMA_VERSION}")
    datetime.fromisoformat(document["measured_at"])
    if document["source"] not in get_args(Source):
        raise ValueError(f"source is {document['source']!r}")
    key, costs = dict(document["key"]), document["costs"]
    return Calibration(
        key=key,
        measured_at=document["measured_at"],
        source=document["source"],
        packages=dict(document["packages"]),
        costs=MeasuredCosts(
            _seconds_by_phase(costs["shared_s"]),
            {
                spec.name: _parse_dataset(costs["datasets"][spec.name])
                for spec in selected_specs(key["dataset"])
            },
        ),
    )


def _parse_dataset(entry: Any) -> DatasetCosts:
    batch_size = entry["batch_size"]
    if batch_size is not None and not (isinstance(batch_size, int) and batch_size >= 1):
        raise ValueError(f"batch_size is {batch_size!r}")
    files = tuple((_number(images), _number(seconds)) for images, seconds in entry["files"])
    if not files or min(images for images, _ in files) < 1:
        raise ValueError("files names no file with images")
    images_per_s = _number(entry["images_per_s"])
    if images_per_s == 0:
        raise ValueError("images_per_s is 0")
    return DatasetCosts(
        images_per_s=images_per_s,
        generate_s=_number(entry["generate_s"]),
        batch_size=batch_size,
        files=tuple((int(images), seconds) for images, seconds in files),
        file_s_per_image=_seconds_by_phase(entry["file_s_per_image"]),
    )


def _seconds_by_phase(entry: Any) -> dict[str, float]:
    return {name: _number(seconds) for name, seconds in entry.items()}


def _number(value: Any) -> float:
    """A finite number that is not negative; JSON also knows NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if not isfinite(value) or value < 0:
        raise ValueError(f"{value} is no cost")
    return float(value)
