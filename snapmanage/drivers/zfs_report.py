"""What `zfs get` reports of datasets and snapshots, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Unsafe
from snapmanage.drivers import zfs_names

KINDS = ("filesystem", "volume", "snapshot")


@dataclass(frozen=True)
class Dataset:
    """A file system, a volume or a snapshot."""

    name: str
    kind: str
    identity: str
    size_bytes: int
    created_at: datetime
    holds: int
    to_be_destroyed: bool

    @property
    def is_snapshot(self) -> bool:
        return self.kind == "snapshot"

    def snapshot(self, parent: "Dataset | None", mounted_at: str) -> BackendSnapshot:
        """The snapshot that this is; `mounted_at` is empty where it isn't mounted."""
        unsafe, reason = self._danger(mounted_at)
        return BackendSnapshot(
            name=self.name,
            identity=self.identity,
            size_bytes=self.size_bytes,
            parent=parent.name if parent else None,
            parent_identity=parent.identity if parent else None,
            created_at=self.created_at,
            unsafe=unsafe,
            unsafe_reason=reason,
            extra={"userrefs": str(self.holds)},
        )

    def _danger(self, mounted_at: str) -> tuple[Unsafe | None, str]:
        if self.to_be_destroyed:
            return Unsafe.UNUSABLE, "ZFS destroys it once its holds and clones are gone (zfs destroy -d)"
        if mounted_at:
            return Unsafe.IN_USE, f"it is mounted at {mounted_at!r}"
        return None, ""


def read(text: str) -> dict[str, Dataset]:
    """What is reported, by name; without bookmarks and the like. `BackendError` where it can't be read."""
    properties: dict[str, dict[str, str]] = {}
    try:
        for line in text.splitlines():
            name, key, value = line.split("\t")
            properties.setdefault(name, {})[key] = value
        return {name: _dataset(name, each) for name, each in properties.items() if _known(name, each)}
    except (ValueError, KeyError) as failure:
        raise errors.BackendError(f"zfs reported something unreadable ({failure!r}): {text[:200]!r}") from failure


def _known(name: str, properties: Mapping[str, str]) -> bool:
    legal = zfs_names.is_snapshot(name) if "@" in name else zfs_names.is_dataset(name)
    return legal and properties["type"] in KINDS


def _dataset(name: str, properties: Mapping[str, str]) -> Dataset:
    volume_size = properties["volsize"]
    return Dataset(
        name=name,
        kind=properties["type"],
        identity=f"{properties['guid']}-{properties['createtxg']}",
        size_bytes=int(properties["referenced"] if volume_size == "-" else volume_size),
        created_at=datetime.fromtimestamp(int(properties["creation"]), UTC),
        holds=0 if properties["userrefs"] == "-" else int(properties["userrefs"]),
        to_be_destroyed=properties["defer_destroy"] == "on",
    )
