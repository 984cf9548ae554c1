"""What `zfs get` reports of datasets and snapshots, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Unsafe
from snapmanage.drivers.zfs import names

KINDS = ("filesystem", "volume", "snapshot")


@dataclass(frozen=True)
class Dataset:
    """A file system, a volume or a snapshot.

    `old_identity` is the form that records of earlier releases have. `fault` says why the other values
    can't be trusted; it is empty for an object that was read in full.
    """

    name: str
    kind: str
    identity: str
    old_identity: str = ""
    size_bytes: int = 0
    created_at: datetime | None = None
    holds: int = 0
    to_be_destroyed: bool = False
    fault: str = ""

    @property
    def is_snapshot(self) -> bool:
        return self.kind == "snapshot"

    def snapshot(self, parent: "Dataset | None", mounted_at: str, longest_own_name: int) -> BackendSnapshot:
        """Return this snapshot as a driver describes it.

        `mounted_at` is empty for a snapshot that isn't mounted. `longest_own_name` is the number of
        characters that the part behind the @ has once the snapshot is managed.
        """
        unsafe, reason = self._danger(mounted_at, longest_own_name)
        return BackendSnapshot(
            name=self.name,
            identity=self.identity,
            size_bytes=self.size_bytes,
            parent=parent.name if parent else None,
            parent_identity=parent.identity if parent else None,
            created_at=self.created_at,
            unsafe=unsafe,
            unsafe_reason=reason,
            extra={} if self.fault else {"userrefs": str(self.holds)},
        )

    def _danger(self, mounted_at: str, longest_own_name: int) -> tuple[Unsafe | None, str]:
        if self.fault:
            return Unsafe.UNUSABLE, self.fault
        if self.to_be_destroyed:
            return Unsafe.UNUSABLE, "ZFS destroys it once its holds and clones are gone (zfs destroy -d)"
        if len(names.dataset_of(self.name)) + 1 + longest_own_name > names.LONGEST_NAME:
            return Unsafe.UNUSABLE, (
                f"its managed name would be longer than the {names.LONGEST_NAME} characters that ZFS allows; "
                "give the dataset a shorter name, or shorten snapshot_name_template"
            )
        if mounted_at:
            return Unsafe.IN_USE, f"it is mounted at {mounted_at!r}"
        return None, ""


def read(text: str) -> dict[str, Dataset]:
    """Return the reported datasets and snapshots by name, without bookmarks and other kinds.

    An object with a value that can't be read gets a `fault` in its place. Raise `BackendError` for a
    report that isn't one.
    """
    properties: dict[str, dict[str, str]] = {}
    try:
        for line in text.splitlines():
            name, key, value = line.split("\t")
            properties.setdefault(name, {})[key] = value
    except ValueError as failure:
        raise errors.BackendError(f"zfs reported something unreadable ({failure!r}): {text[:200]!r}") from failure
    return {name: _read_one(name, each) for name, each in properties.items() if _known(name, each)}


def _known(name: str, properties: Mapping[str, str]) -> bool:
    legal = names.is_snapshot(name) if "@" in name else names.is_dataset(name)
    return legal and properties.get("type", "-") in (*KINDS, "-")


def _read_one(name: str, properties: Mapping[str, str]) -> Dataset:
    try:
        return _dataset(name, properties)
    except (ValueError, KeyError) as failure:
        kind = "snapshot" if "@" in name else "filesystem"
        fault = f"zfs reports no usable properties of it ({failure}); see zpool status -v"
        return Dataset(name, kind, unreadable_identity(name), fault=fault)


def unreadable_identity(name: str) -> str:
    """Return the identity of an object that can't be read; no real one has a colon."""
    return f"unreadable:{name}"


def _dataset(name: str, properties: Mapping[str, str]) -> Dataset:
    volume_size = properties["volsize"]
    guid, transaction, object_set = (int(properties[key]) for key in ("guid", "createtxg", "objsetid"))
    old = f"{guid}-{transaction}"
    return Dataset(
        name=name,
        kind=properties["type"],
        identity=f"{old}-{object_set}" if "@" in name else old,
        old_identity=old,
        size_bytes=int(properties["referenced"] if volume_size == "-" else volume_size),
        created_at=datetime.fromtimestamp(int(properties["creation"]), UTC),
        holds=0 if properties["userrefs"] == "-" else int(properties["userrefs"]),
        to_be_destroyed=properties["defer_destroy"] == "on",
    )
