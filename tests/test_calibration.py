import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from challenge.calibration import CalibrationFile, cache_dir, calibration_key
from challenge.forecast import DatasetCosts, MeasuredCosts
from challenge.settings import GenerateSettings

COSTS = MeasuredCosts(
    {"load": 2.0},
    {"cifar100": DatasetCosts(50.0, 100.0, 64, ((100, 0.1), (5000, 2.5)), {"write": 0.0005})},
)
SETTINGS = GenerateSettings(dataset="cifar100", model="tiny")
KEY = calibration_key(SETTINGS, "a device", "float32", 100, Path("/"))
PACKAGES = {"torch": "2.15.0", "kornia": None}


def open_file(folder: Path, **changes: Any) -> CalibrationFile:
    return CalibrationFile(folder, changes.get("key", KEY), changes.get("packages", PACKAGES))


def test_what_was_saved_is_found_again(tmp_path: Path) -> None:
    first = open_file(tmp_path / "new" / "cache")
    assert (first.found, first.notice) == (None, None)
    saved = first.save("run", COSTS)
    again = open_file(tmp_path / "new" / "cache")
    assert again.notice is None
    assert again.found == saved
    assert again.found is not None
    assert again.found.costs == COSTS
    assert again.found.batch_sizes() == {"cifar100": 64}
    assert "by a run on 20" in again.found.basis
    assert [path.name for path in first.path.parent.iterdir()] == [first.path.name]


@pytest.mark.parametrize(
    "changes",
    [{"dtype": "bfloat16"}, {"device": "another"}, {"prompts": 5}, {"augment": "none"},
     {"model": "sdxl-turbo"}, {"batch_size": 8}, {"disk": "/mnt/slow"}],
)  # fmt: skip
def test_other_conditions_have_another_file(tmp_path: Path, changes: dict[str, Any]) -> None:
    open_file(tmp_path).save("run", COSTS)
    other = open_file(tmp_path, key={**KEY, **changes})
    assert (other.found, other.notice) == (None, None)


def test_a_model_folder_is_known_by_its_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    relative = calibration_key(replace(SETTINGS, model="model"), "d", "float32", 1, tmp_path)
    settings = replace(SETTINGS, model=str(tmp_path / "model"))
    absolute = calibration_key(settings, "d", "float32", 1, tmp_path)
    assert relative == absolute
    assert relative["model"] == str(tmp_path / "model")


def test_a_disk_is_known_by_its_mount_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path in (tmp_path / "a", Path("/")))
    deep = calibration_key(SETTINGS, "d", "float32", 1, tmp_path / "a" / "b" / "c")
    root = calibration_key(SETTINGS, "d", "float32", 1, tmp_path)
    assert (deep["disk"], root["disk"]) == (str(tmp_path / "a"), "/")


def test_other_package_versions_make_it_out_of_date_and_are_named(tmp_path: Path) -> None:
    open_file(tmp_path).save("run", COSTS)
    newer = open_file(tmp_path, packages={"torch": "2.16.0", "kornia": "0.9"})
    assert newer.found is None
    assert newer.notice is not None
    assert "torch was 2.15.0 and is 2.16.0, kornia was missing and is 0.9" in newer.notice
    assert "a guess" in newer.notice


def spoilt(document: dict[str, Any], place: str, value: object) -> str:
    """The document as JSON, with another value at a place such as ``costs.shared_s``."""
    *parents, last = place.split(".")
    entry = document
    for name in parents:
        entry = entry[name]
    entry[last] = value
    return json.dumps(document)


DAMAGE = {
    "a schema of the future": ("schema_version", 2),
    "a date that is none": ("measured_at", "yesterday"),
    "an unknown source": ("source", "hearsay"),
    "negative seconds": ("costs.shared_s.load", -1.0),
    "endless seconds": ("costs.shared_s.load", float("inf")),
    "text for a number": ("costs.shared_s.load", "2"),
    "a rate of nothing": ("costs.datasets.cifar100.images_per_s", 0),
    "no file costs": ("costs.datasets.cifar100.files", []),
    "a file of no image": ("costs.datasets.cifar100.files", [[0, 1.0]]),
    "half a batch": ("costs.datasets.cifar100.batch_size", 0.5),
    "true for a number": ("costs.datasets.cifar100.generate_s", True),
    "another data set's costs": ("costs.datasets", {"tinyimagenet": {}}),
    "a list for an object": ("costs", []),
    "packages that are a number": ("packages", 7),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_file_is_told_and_not_used(case: str, tmp_path: Path) -> None:
    file = open_file(tmp_path)
    file.save("run", COSTS)
    file.path.write_text(spoilt(json.loads(file.path.read_text()), *DAMAGE[case]))
    damaged = open_file(tmp_path)
    assert damaged.found is None
    assert damaged.notice is not None
    assert damaged.notice.startswith(f"{file.path} is damaged (")
    assert "delete the file" in damaged.notice


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 10**5])
def test_a_file_of_something_else_is_told_and_not_used(content: bytes, tmp_path: Path) -> None:
    file = open_file(tmp_path)
    file.path.write_bytes(content)
    assert open_file(tmp_path).found is None
    assert "damaged" in str(open_file(tmp_path).notice)


def test_a_file_cut_at_any_byte_is_told_and_not_used(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    file.save("run", COSTS)
    whole = file.path.read_bytes().rstrip()
    for length in range(len(whole)):
        file.path.write_bytes(whole[:length])
        cut = open_file(tmp_path)
        assert cut.found is None
        assert cut.notice is not None


def test_a_file_copied_from_another_device_is_told_and_not_used(tmp_path: Path) -> None:
    other = open_file(tmp_path, key={**KEY, "device": "a faster one"})
    other.save("run", COSTS)
    other.path.rename(open_file(tmp_path).path)
    foreign = open_file(tmp_path)
    assert foreign.found is None
    assert "another device, model or setting" in str(foreign.notice)


def test_a_folder_of_that_name_is_told(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    file.path.mkdir()
    assert "cannot be read" in str(open_file(tmp_path).notice)


def test_a_cache_that_cannot_be_written_is_an_os_error_and_leaves_the_old_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"):
        open_file(tmp_path / "file").save("run", COSTS)
    assert (tmp_path / "file").read_text() == "mine"


def costs_of(images_per_s: float, generate_s: float) -> MeasuredCosts:
    one = replace(COSTS.datasets["cifar100"], images_per_s=images_per_s, generate_s=generate_s)
    return MeasuredCosts({"load": images_per_s}, {"cifar100": one})


@pytest.mark.parametrize(("seconds", "kept"), [(9.9, 50.0), (10.0, 70.0), (500.0, 70.0)])
def test_a_glimpse_does_not_replace_what_a_long_run_knew(
    seconds: float, kept: float, tmp_path: Path
) -> None:
    open_file(tmp_path).save("run", costs_of(50.0, 100.0))
    saved = open_file(tmp_path).save("dry run", costs_of(70.0, seconds))
    assert saved.costs.datasets["cifar100"].images_per_s == kept
    assert saved.costs.shared_s == {"load": 70.0}
    assert open_file(tmp_path).found == saved


def test_the_cache_folder_is_the_given_one_else_what_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("CHALLENGE_CACHE_DIR", "~/mine")
    assert cache_dir(tmp_path) == tmp_path
    assert cache_dir(None) == tmp_path / "home" / "mine"
    monkeypatch.delenv("CHALLENGE_CACHE_DIR")
    assert cache_dir(None) == tmp_path / "xdg" / "challenge"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir(None) == tmp_path / "home" / ".cache" / "challenge"
