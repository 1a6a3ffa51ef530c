"""``generate --resume``: which run is continued, with which settings, and what it has spent.

A run is continued as it was begun. Flags that are given beside ``--resume`` must say what the run's
own settings say, but for those that change nothing in the file.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from challenge.errors import JournalError, UsageError
from challenge.settings import GenerateSettings
from challenge.settings.choices import selected_specs
from challenge.watch import HEARTBEAT_S, read_heartbeat_s

FREE_SETTINGS = ("resume", "json", "device", "compile", "cache_dir", "no_prepared")
PATH_SETTINGS = ("out", "resume", "prompts_dir", "cache_dir")


def read_record(run_dir: Path) -> dict[str, Any]:
    """The run.json of a run; ``UsageError`` when there is none."""
    try:
        record = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
        if not isinstance(record["settings"], dict):
            raise TypeError("settings is no object")
    except FileNotFoundError:
        raise UsageError(
            f"{run_dir} holds no run.json, so there is no run to resume; "
            "give the folder that generate named"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JournalError(
            f"{run_dir / 'run.json'}: the run's settings cannot be read ({error}); start a new run"
        ) from error
    return dict(record)


def recorded_settings(run_dir: Path) -> GenerateSettings:
    """The settings with which the run in ``run_dir`` was begun, set to be resumed.

    Raises ``UsageError`` or ``JournalError`` when they cannot be read.
    """
    recorded = read_record(run_dir)["settings"]
    known = {field.name for field in fields(GenerateSettings)}
    if strange := sorted(recorded.keys() - known):
        raise JournalError(
            f"{run_dir / 'run.json'}: this program knows no setting {strange[0]!r}; "
            "resume with the version that began the run"
        )
    kinds = get_type_hints(GenerateSettings)
    for name, value in recorded.items():
        if not _is_of_kind(value, kinds[name]):
            raise JournalError(
                f"{run_dir / 'run.json'}: the setting {name} is {value!r:.60}, which it cannot be; "
                "put it right, or start a new run"
            )
    for name in PATH_SETTINGS:
        if recorded.get(name) is not None:
            recorded[name] = Path(recorded[name])
    if "distinct" in recorded:  # JSON knows no tuples
        recorded["distinct"] = tuple(recorded["distinct"])
    return GenerateSettings(**recorded | {"resume": run_dir, "json": False})


def _is_of_kind(value: object, kind: Any) -> bool:
    """Whether a value read from JSON, which knows no paths and no tuples, can be of this type."""
    of, inner = get_origin(kind), get_args(kind)
    if of is Literal:
        return value in inner
    if of in (Union, UnionType):
        return any(_is_of_kind(value, each) for each in inner)
    if of is tuple:  # of any number of the same
        return isinstance(value, list) and all(_is_of_kind(each, inner[0]) for each in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is (str if kind is Path else kind)


def require_same_settings(settings: GenerateSettings) -> None:
    """Refuse flags beside ``--resume`` that differ from the run's; ``UsageError`` names the first.

    ``settings`` are those of the run, overruled by the flags that were given.
    """
    assert settings.resume is not None
    recorded = recorded_settings(settings.resume)
    for field in fields(GenerateSettings):
        ours, theirs = getattr(settings, field.name), getattr(recorded, field.name)
        if field.name not in FREE_SETTINGS and ours != theirs:
            flag = "--" + field.name.replace("_", "-")
            raise UsageError(
                f"{settings.resume}: the run was begun with {flag} {theirs}, not {ours}; "
                f"leave {flag} away, or start a new run"
            )


def is_finished(record: Mapping[str, Any]) -> bool:
    """Whether a run came to its end by itself, with all its data sets: nothing is left to do."""
    if record.get("verdict") is None or record["stopped_by"] is not None:
        return False
    wanted = selected_specs(record["settings"]["dataset"])
    return all(spec.name in record["datasets"] for spec in wanted)


def spent_seconds(run_dir: Path, record: Mapping[str, Any]) -> float:
    """What the processes of a run have spent: by its record, else by their last sign of life.

    The guard leaves a sign every half second, and each event is stamped. The half second after the
    last one is counted too, since the process may have lived through it.
    """
    if record.get("verdict") is not None:
        return float(record["spent_s"])
    signs_s = [read_heartbeat_s(run_dir), _last_event_s(run_dir / "events.jsonl")]
    return max(signs_s) + HEARTBEAT_S


def _last_event_s(log: Path) -> float:
    """The time of the last whole line of a log; 0 without one."""
    try:
        lines = log.read_bytes().rpartition(b"\n")[0].splitlines()
    except OSError:
        return 0.0
    for line in reversed(lines):
        try:
            return float(json.loads(line)["t_s"])
        except (ValueError, KeyError, TypeError):
            continue  # a line that the power failure left damaged
    return 0.0
