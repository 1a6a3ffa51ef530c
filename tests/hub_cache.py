"""A hub cache laid out as huggingface_hub does it, and a download that lays one out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

Fill = Callable[[Path], object]  # writes a repository's files into a folder


def add_snapshot(cache: Path, hub_id: str, commit: str, refs: Iterable[str] = ("main",)) -> Path:
    """The empty folder of a snapshot, and the names of revisions that stand for it."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    for ref in refs:
        path = repository / "refs" / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)
    return snapshot


class FakeHub:
    """Repositories by hub id and revision; its ``download`` stands for ``snapshot_download``.

    ``asked`` are the downloads, each with hub id and revision.
    """

    def __init__(self, cache: Path, repositories: Mapping[str, Mapping[str, tuple[str, Fill]]]):
        self._cache, self._repositories = cache, repositories
        self.asked: list[tuple[str, str]] = []

    def download(
        self,
        hub_id: str,
        *,
        revision: str,
        allow_patterns: Sequence[str],
        ignore_patterns: Sequence[str],
    ) -> None:
        self.asked.append((hub_id, revision))
        if revision not in self._repositories.get(hub_id, {}):
            raise OSError(f"404: no {revision} of {hub_id}")
        commit, fill = self._repositories[hub_id][revision]
        snapshot = add_snapshot(
            self._cache, hub_id, commit, () if revision == commit else (revision,)
        )
        fill(snapshot)
        for path in [path for path in snapshot.rglob("*") if path.is_file()]:
            name = str(path.relative_to(snapshot))
            wanted = any(fnmatch(name, pattern) for pattern in allow_patterns)
            if not wanted or any(fnmatch(name, pattern) for pattern in ignore_patterns):
                path.unlink()
