"""Hub repositories in the local cache: which revision of each is taken, and where its files lie.

A run downloads nothing. ``prepare`` does, and records the commit of every repository that it used;
a run takes that commit and no other, so that a branch that moves on changes no result. Where
nothing was recorded, a known commit is taken if it is here, else the branch main.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from huggingface_hub import constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from challenge.errors import WeightsError

# Commits whose listing, with the files that are wanted, was seen on the hub or in public programs
# that pin them (November 2026).
KNOWN_COMMITS = {
    "stabilityai/sdxl-turbo": "71153311d3dbb46851df1931d3ca6e939de83304",
    "stabilityai/sd-turbo": "b261bac6fd2cf515557d5d0707481eafa0485ec2",
    "stabilityai/stable-diffusion-xl-base-1.0": "462165984030d82259a11f4367a4eed129e94a7b",
    "ByteDance/SDXL-Lightning": "c9a24f48e1c025556787b0c58dd67a091ece2e44",
    "ByteDance/Hyper-SD": "1e2dd89c425351bcdd1ad22c4d73c0b97da4f5df",
    "tianweiy/DMD2": "be22767697a1f3ca656b73c776e15fa335c86c6c",
}
COMMIT = re.compile(r"[0-9a-f]{40}")
RECORD_FILE = "revisions.json"
TRY_TINY = "--model tiny needs no weights"

Commits = Mapping[str, str]  # by hub id
NOTHING_RECORDED: Commits = MappingProxyType({})


@dataclass(frozen=True)
class HubFiles:
    """Files of one repository: ``file`` tells whether it is here; ``wanted`` is what to download.

    ``revision`` is the commit, tag or branch that the user asked for, if any.
    """

    hub_id: str
    file: str
    revision: str | None
    wanted: tuple[str, ...]
    not_wanted: tuple[str, ...] = ()

    def find(self, recorded: Commits, how_to_get: str) -> Path:
        """The folder of the snapshot, which is named for its commit.

        Not by ``snapshot_download(local_files_only=True)``: in huggingface_hub 2.4 that fails if
        files were left out of the download, and repositories hold their weights several times over.

        Raises:
            WeightsError: it is not in the cache at that revision.
        """
        for revision in self._revisions(recorded):
            path = self._cached(revision)
            if path is not None:
                return path.parents[self.file.count("/")]
        get = f"get it with `{how_to_get}`"
        cached = self._cached_commits()
        if not cached:
            raise WeightsError(
                f"{self.hub_id} is neither a folder here nor in the hub cache "
                f"{constants.HF_HUB_CACHE}; {get}, or pass --model DIRECTORY; {TRY_TINY}"
            )
        revision = self._revisions(recorded)[0]
        if revision in cached or (self.revision is None and self.hub_id not in recorded):
            raise WeightsError(f"{self.hub_id} is in the hub cache without its {self.file}; {get}")
        why = "which --revision asks for" if self.revision else "which prepare recorded"
        raise WeightsError(
            f"{self.hub_id} is in the hub cache at {' and '.join(cached)}, not at {revision}, "
            f"{why}; {get}"
        )

    def download(self, recorded: Commits, tell: Callable[[str], None]) -> None:
        """Fetch the wanted files of the revision; ``WeightsError`` when that fails."""
        revision = self._revisions(recorded)[0]
        tell(f"downloading {self.hub_id} at {revision} to {constants.HF_HUB_CACHE}")
        try:
            snapshot_download(
                self.hub_id,
                revision=revision,
                allow_patterns=list(self.wanted),
                ignore_patterns=list(self.not_wanted),
            )
        except (OSError, ValueError, HfHubHTTPError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(
                f"{self.hub_id} cannot be downloaded at {revision}: {reason}; {TRY_TINY}"
            ) from error

    @property
    def may_have_moved(self) -> bool:
        """Whether the revision asked for is a name, which only the hub can say the commit of."""
        return self.revision is not None and not COMMIT.fullmatch(self.revision)

    def _revisions(self, recorded: Commits) -> tuple[str, ...]:
        """Revisions that will do, the first of which is downloaded."""
        if self.revision is not None:
            return (self.revision,)
        if self.hub_id in recorded:
            return (recorded[self.hub_id],)
        known = KNOWN_COMMITS.get(self.hub_id)
        return ("main",) if known is None else (known, "main")

    def _cached(self, revision: str) -> Path | None:
        try:
            path = try_to_load_from_cache(self.hub_id, self.file, revision=revision)
        except HFValidationError as error:
            raise WeightsError(
                f"there is no {self.hub_id}, and as a hub id it is wrong: {error}"
            ) from error
        return Path(path) if isinstance(path, str) else None

    def _cached_commits(self) -> list[str]:
        repository = Path(constants.HF_HUB_CACHE) / f"models--{self.hub_id.replace('/', '--')}"
        return sorted(path.name for path in repository.glob("snapshots/*"))


def recorded_commits(folder: Path | None) -> Commits:
    """What ``prepare`` recorded in its folder.

    Raises:
        WeightsError: the record is damaged, so that nobody knows which commit is meant.
    """
    if folder is None or not (path := folder / RECORD_FILE).exists():
        return NOTHING_RECORDED
    try:
        commits = json.loads(path.read_text(encoding="utf-8"))
        return {str(hub_id): str(commit) for hub_id, commit in commits.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{path} is damaged ({error}); delete it and run prepare again, or give --no-prepared"
        ) from error


def record_commits(folder: Path, commits: Commits) -> None:
    """Add these to the record, in one step; ``OSError`` when it cannot be written."""
    merged = {**recorded_commits(folder), **commits}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{RECORD_FILE}.partial"
    partial.write_text(json.dumps(merged, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(folder / RECORD_FILE)
