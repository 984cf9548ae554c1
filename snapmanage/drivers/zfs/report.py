"""Datasets and snapshots, read from the report of `zfs get`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe
from snapmanage.drivers.zfs.names import MAX_NAME_LENGTH, dataset_of, is_dataset_name, is_snapshot_name

KINDS = ("filesystem", "volume", "snapshot")


@dataclass(frozen=True)
class Dataset:
    """A file system, a volume or a snapshot.

    `old_identity` is the form of the identity in records of earlier releases. `fault` is the reason why the other
    values can't be trusted; it is empty for an object that was read in full.
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

    def snapshot(self, parent: "Dataset | None", mounted_at: str, managed_suffix_length: int) -> BackendSnapshot:
        """Return this snapshot as the driver protocol describes it.

        `mounted_at` is empty for a snapshot that isn't mounted. `managed_suffix_length` is the length of the part
        after the @ of managed names.
        """
        unsafe, reason = self._safety(mounted_at, managed_suffix_length)
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

    def volume(self) -> BackendVolume:
        """Return this dataset as the driver protocol describes it."""
        return BackendVolume(
            name=self.name,
            identity=self.identity,
            size_bytes=self.size_bytes,
            created_at=self.created_at,
            unsafe=Unsafe.UNUSABLE if self.fault else None,
            unsafe_reason=self.fault,
            extra={} if self.fault else {"type": self.kind},
        )

    def _safety(self, mounted_at: str, managed_suffix_length: int) -> tuple[Unsafe | None, str]:
        if self.fault:
            return Unsafe.UNUSABLE, self.fault
        if self.to_be_destroyed:
            return Unsafe.UNUSABLE, "ZFS destroys it once its holds and clones are gone (zfs destroy -d)"
        if len(dataset_of(self.name)) + 1 + managed_suffix_length > MAX_NAME_LENGTH:
            return Unsafe.UNUSABLE, (
                f"its managed name would be longer than the {MAX_NAME_LENGTH} characters that ZFS allows; "
                "give the dataset a shorter name, or shorten snapshot_name_template"
            )
        if mounted_at:
            return Unsafe.IN_USE, f"it is mounted at {mounted_at!r}"
        return None, ""


def read(text: str) -> dict[str, Dataset]:
    """Return the reported datasets and snapshots by name, without bookmarks and other kinds.

    An object with an unreadable value is returned with a `fault`. Raise `BackendError` for text that isn't a report.
    """
    properties: dict[str, dict[str, str]] = {}
    try:
        for line in filter(None, text.split("\n")):
            name, key, value = line.split("\t")
            properties.setdefault(name, {})[key] = value
    except ValueError as failure:
        raise errors.BackendError(f"the report of zfs is unreadable ({failure!r}): {text[:200]!r}") from failure
    return {name: _dataset(name, each) for name, each in properties.items() if _is_supported(name, each)}


def _is_supported(name: str, properties: Mapping[str, str]) -> bool:
    valid = is_snapshot_name(name) if "@" in name else is_dataset_name(name)
    return valid and properties.get("type", "-") in (*KINDS, "-")


def _dataset(name: str, properties: Mapping[str, str]) -> Dataset:
    try:
        volume_size = properties["volsize"]
        guid, transaction, number = (int(properties[key]) for key in ("guid", "createtxg", "objsetid"))
        old = f"{guid}-{transaction}"
        return Dataset(
            name=name,
            kind=properties["type"],
            identity=f"{old}-{number}" if "@" in name else old,
            old_identity=old,
            size_bytes=_count(properties["referenced"] if volume_size == "-" else volume_size),
            created_at=datetime.fromtimestamp(int(properties["creation"]), UTC),
            holds=0 if properties["userrefs"] == "-" else _count(properties["userrefs"]),
            to_be_destroyed=properties["defer_destroy"] == "on",
        )
    except (ValueError, KeyError, OverflowError, OSError) as failure:  # the last two: no such time in the calendar
        kind = "snapshot" if "@" in name else "filesystem"
        fault = f"zfs reports no usable properties of it ({failure}); see zpool status -v"
        return Dataset(name, kind, unreadable_identity(name), fault=fault)


def _count(text: str) -> int:
    if (value := int(text)) < 0:
        raise ValueError(f"{value} is negative")
    return value


def unreadable_identity(name: str) -> str:
    """Return an identity for an object that can't be read. It has a colon, unlike any real identity."""
    return f"unreadable:{name}"
