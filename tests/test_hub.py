"""Which revision of a hub repository is taken, and what is said when it is not here."""

from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_cache import FakeHub, add_snapshot

from challenge.errors import WeightsError
from challenge.generators import hub
from challenge.generators.hub import HubFiles, record_commits, recorded_commits

FIRST, SECOND, THIRD = "1" * 40, "2" * 40, "3" * 40
GET = "prepare --model org/name"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def files(revision: str | None = None, hub_id: str = "org/name") -> HubFiles:
    return HubFiles(hub_id, "model_index.json", revision, ("*.json",))


def add(cache: Path, commit: str, *refs: str, hub_id: str = "org/name") -> Path:
    snapshot = add_snapshot(cache, hub_id, commit, refs)
    (snapshot / "model_index.json").write_text("{}")
    return snapshot


def test_a_revision_asked_for_is_the_one_that_is_taken(cache: Path) -> None:
    first, second = add(cache, FIRST, "v1"), add(cache, SECOND, "main")
    assert files().find({}, GET) == second
    assert files("v1").find({}, GET) == first
    assert files(FIRST).find({"org/name": SECOND}, GET) == first


def test_what_prepare_recorded_is_taken_before_main(cache: Path) -> None:
    first = add(cache, FIRST)
    add(cache, SECOND, "main")
    assert files().find({"org/name": FIRST, "org/other": SECOND}, GET) == first


def test_a_known_commit_is_taken_before_main_but_need_not_be_there(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hub.KNOWN_COMMITS, "org/name", FIRST)
    second = add(cache, SECOND, "main")
    assert files().find({}, GET) == second
    first = add(cache, FIRST)
    assert files().find({}, GET) == first


def test_known_commits_are_whole() -> None:
    assert all(hub.COMMIT.fullmatch(commit) for commit in hub.KNOWN_COMMITS.values())


@pytest.mark.parametrize(
    ("revision", "recorded", "message"),
    [
        ("v2", {}, f"at {FIRST} and {SECOND}, not at v2, which --revision asks for; get it with"),
        (THIRD, {"org/name": FIRST}, f"not at {THIRD}, which --revision asks for"),
        (None, {"org/name": THIRD}, f"not at {THIRD}, which prepare recorded; get it with"),
    ],
)
def test_another_revision_than_is_here_is_refused(
    cache: Path, revision: str | None, recorded: dict[str, str], message: str
) -> None:
    add(cache, FIRST, "v1"), add(cache, SECOND, "main")
    with pytest.raises(WeightsError, match=message) as caught:
        files(revision).find(recorded, GET)
    assert "prepare --model org/name" in str(caught.value)


def test_a_repository_without_the_file_is_told_apart_from_none(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"neither a folder here nor in the hub cache"):
        files().find({}, GET)
    (add(cache, FIRST, "main") / "model_index.json").unlink()
    with pytest.raises(WeightsError, match=r"is in the hub cache without its model_index\.json"):
        files().find({}, GET)
    with pytest.raises(WeightsError, match=r"without its model_index\.json; get it with `prepare"):
        files(FIRST).find({}, GET)


def test_a_file_deep_in_a_repository_has_the_snapshots_folder(cache: Path) -> None:
    snapshot = add_snapshot(cache, "org/name", FIRST)
    (snapshot / "a" / "b").mkdir(parents=True)
    (snapshot / "a" / "b" / "unet.bin").touch()
    assert HubFiles("org/name", "a/b/unet.bin", None, ()).find({}, GET) == snapshot


def test_a_download_is_of_the_revision_and_says_where_to(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = FakeHub(cache, {"org/name": {"main": (FIRST, lambda folder: None)}})
    monkeypatch.setattr(hub, "snapshot_download", there.download)
    told: list[str] = []
    files().download({}, told.append)
    assert told == [f"downloading org/name at main to {cache}"]
    with pytest.raises(WeightsError, match=r"org/name cannot be downloaded at v9: 404: no v9"):
        files("v9").download({"org/name": FIRST}, told.append)
    with pytest.raises(WeightsError, match=f"at {SECOND}: 404"):
        files().download({"org/name": SECOND}, told.append)
    assert there.asked == [("org/name", "main"), ("org/name", "v9"), ("org/name", SECOND)]


def test_only_a_name_may_have_moved() -> None:
    assert files("main").may_have_moved
    assert not files(FIRST).may_have_moved
    assert not files().may_have_moved


def test_records_are_added_to_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    assert recorded_commits(None) == {}
    assert recorded_commits(tmp_path / "prepared") == {}
    record_commits(tmp_path / "prepared", {"org/name": FIRST, "org/other": FIRST})
    record_commits(tmp_path / "prepared", {"org/name": SECOND})
    assert recorded_commits(tmp_path / "prepared") == {"org/name": SECOND, "org/other": FIRST}
    for text in ("{", "[]", ""):
        (tmp_path / "prepared" / "revisions.json").write_text(text)
        with pytest.raises(WeightsError, match=r"revisions\.json is damaged .*prepare again"):
            recorded_commits(tmp_path / "prepared")
