"""One open RBD image: the descriptions of its snapshots, and their renames."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe
from snapmanage.drivers.rbd.names import SnapshotIds, is_image_id, snapshot_part
from snapmanage.drivers.rbd.raw import read_snapshots
from snapmanage.drivers.rbd.refusals import refusals
from snapmanage.drivers.rbd.unreadable import ImageEntry, ImageUnreadable, unreadable_identity
from snapmanage.drivers.system.ceph_bindings import Bindings

USER_NAMESPACE = 0
# Reasons against renaming a snapshot, by its namespace in librbd's list.
_NAMESPACE_REASONS = {
    1: "it is part of a group's snapshot, and can't be renamed alone",
    2: "it was removed, and is in the trash because clones need it",
    3: "it belongs to mirroring",
}
UNDECODABLE_NAME = "its name isn't UTF-8, so unmanaging couldn't restore that name: rename it first (rbd snap rename)"


class OpenImage:
    """An image while it is open; `find_all` and `rename` take whole names (IMAGE@SNAPSHOT).

    `find` and `find_id` read the list of snapshots once. `protect` is true if managed snapshots are protected.
    """

    def __init__(self, image: Any, ioctx: Any, bindings: Bindings, protect: bool = False) -> None:
        self.image = image
        self._ioctx = ioctx
        self._bindings = bindings
        self._protect = protect
        self.name: str = image.get_name()
        self._id: str = "" if image.old_format() else image.id()

    @cached_property
    def refusal(self) -> str | None:
        """Return the first reason against managing any snapshot of the image, as a clause."""
        return next(refusals(self.image, self._ioctx, self._bindings, self._protect), None)

    @property
    def has_plain_header(self) -> bool:
        """Return whether the image's header alone has the names of snapshots, in a form that this librbd knows.

        The names in a journal are those of a mirror too, so only librbd may write them.
        """
        return self.refusal is None and not self.image.features() & self._bindings.rbd.RBD_FEATURE_JOURNALING

    def volume(self) -> BackendVolume:
        """Return the image as a volume; an image of format 1, which has no id, or with an impossible id is unusable."""
        usable = is_image_id(self._id)
        created_at = self.image.create_timestamp().replace(tzinfo=UTC)
        return BackendVolume(
            name=self.name,
            identity=self._id or unreadable_identity(self.name, ""),
            size_bytes=self.image.size(),
            created_at=_known_time(created_at),
            unsafe=None if usable else Unsafe.UNUSABLE,
            unsafe_reason="" if usable else self.refusal or "",
            extra={"image_id": self._id} if self._id else {},
        )

    def snapshots(self) -> list[BackendSnapshot]:
        """Return every snapshot of the image, those of groups, mirroring and the trash too."""
        return [self._describe(snap) for snap in self._read_snapshots()]

    def find(self, name: str) -> BackendSnapshot | None:
        """Return the snapshot of that name, preferably one that a user made.

        A snapshot in the trash is found by the name that it had before too.
        """
        snap = self._by_name.get(name)
        return self._describe(snap) if snap else None

    def find_id(self, snapshot_id: int) -> BackendSnapshot | None:
        snap = self._by_id.get(snapshot_id)
        return self._describe(snap) if snap else None

    def find_all(self, *names: str) -> dict[str, BackendSnapshot]:
        """Return the snapshots of those whole names, by name; a name without a snapshot is missing."""
        # Names with an earlier name of the image can have the same part.
        by_part: dict[str, list[str]] = {}
        for name in names:
            by_part.setdefault(snapshot_part(name, self.name), []).append(name)
        found = {snap["name"]: self._describe(snap) for snap in self._read_snapshots() if snap["name"] in by_part}
        return {name: each for part, each in found.items() for name in by_part[part]}

    def rename(self, old: str, new: str) -> None:
        self.image.rename_snap(*(snapshot_part(name, self.name) for name in (old, new)))

    def name_of(self, snapshot_id: int) -> str | None:
        """Return the snapshot's name within the image; None where the snapshot is gone.

        The snapshot isn't described here: librbd aborts the process when it reads the time of a snapshot that was
        removed meanwhile, and an image that is open for writing learns of such removals.
        """
        return next((str(snap["name"]) for snap in self._read_snapshots() if snap["id"] == snapshot_id), None)

    def short_name(self, snapshot: BackendSnapshot) -> str:
        """Return the snapshot's name within the image."""
        return snapshot_part(snapshot.name, self.name)

    @cached_property
    def _by_id(self) -> Mapping[int, Mapping[str, Any]]:
        return {snap["id"]: snap for snap in self._read_snapshots()}

    @cached_property
    def _by_name(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the snapshots by name, preferably those that users made; one in the trash has its earlier name too."""
        found: dict[str, Mapping[str, Any]] = {}
        for snap in sorted(self._by_id.values(), key=lambda snap: bool(snap["namespace"] != USER_NAMESPACE)):
            for name in (snap["name"], snap.get("trash", {}).get("original_name")):
                found.setdefault(name, snap)
        return found

    def _read_snapshots(self) -> list[Mapping[str, Any]]:
        with suppress(UnicodeDecodeError):
            return list(self.image.list_snaps())
        if not self._id:
            entry = ImageEntry(self.name, "", self.name.encode())
            raise ImageUnreadable(entry, "names of its snapshots aren't UTF-8", "rename them (rbd snap rename)")
        gone = (self._bindings.rbd.ImageNotFound, self._bindings.rados.ObjectNotFound)
        return list(read_snapshots(self._ioctx, self.image, gone))

    def _describe(self, snap: Mapping[str, Any]) -> BackendSnapshot:
        ids = str(SnapshotIds(self._id, snap["id"]))
        reason = next(self._refusals_of(snap), None)
        created_at: datetime = self.image.get_snap_timestamp(snap["id"]).replace(tzinfo=UTC)
        return BackendSnapshot(
            name=f"{self.name}@{snap['name']}",
            identity=ids if self._id else f"format-1 {self.name}@{snap['id']}",
            size_bytes=snap["size"],
            parent=self.name,
            parent_identity=self._id or None,
            created_at=_known_time(created_at),
            unsafe=Unsafe.UNUSABLE if reason else None,
            unsafe_reason=reason or "",
            extra={"source-id": ids} if self._id else {},
        )

    def _refusals_of(self, snap: Mapping[str, Any]) -> Iterator[str]:
        """Yield the reasons against managing the snapshot, as clauses."""
        kind = snap["namespace"]
        if kind != USER_NAMESPACE:
            yield _NAMESPACE_REASONS.get(kind, f"RBD reserves it (namespace {kind})")
        if snap.get("undecodable"):
            yield UNDECODABLE_NAME
        if self.refusal:
            yield self.refusal


def _known_time(time: datetime) -> datetime | None:
    """Return the time; None for format 1 and old clusters, which record none."""
    return time if time.timestamp() else None
