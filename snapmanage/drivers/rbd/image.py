"""One open RBD image: its snapshots as snapmanage describes them, and renaming among them."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe
from snapmanage.drivers.rbd import names as rbd_names
from snapmanage.drivers.rbd import raw
from snapmanage.drivers.rbd.names import Ids
from snapmanage.drivers.rbd.refusals import refusals
from snapmanage.drivers.rbd.unreadable import ImageUnreadable, Listed
from snapmanage.drivers.system.ceph_bindings import Bindings

USER = 0
# Why a snapshot can't be renamed, by the namespace in which librbd lists it.
_NOT_A_USERS = {
    1: "it is part of a group's snapshot, and can't be renamed alone",
    2: "it was removed, and lies in the trash because clones need it",
    3: "it belongs to mirroring",
}
ODD_NAME = "its name isn't UTF-8, so it couldn't be given back that name: rename it first (rbd snap rename)"


class OpenImage:
    """An image while it is open; the names of `look` and `rename` are whole names.

    `protect` says that managed snapshots must be protected.
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
        """Why none of the image's snapshots can be managed, as a clause."""
        return next(refusals(self.image, self._ioctx, self._bindings, self._protect), None)

    def volume(self) -> BackendVolume:
        """The image as a volume; `Unusable` where it has no id, and so nothing of it can be managed."""
        if not self._id:
            raise errors.Unusable(f"{self.name!r} can't be used: {self.refusal}")
        return BackendVolume(self.name, self._id, self.image.size())

    def snapshots(self) -> list[BackendSnapshot]:
        """Every snapshot of the image, whoever made it."""
        return [self._described(snap) for snap in self._snaps()]

    def find(self, name: str) -> BackendSnapshot | None:
        """The snapshot of that name, a user's before others; one in the trash has its old name too."""
        for snap in sorted(self._snaps(), key=lambda snap: bool(snap["namespace"] != USER)):
            if name in (snap["name"], snap.get("trash", {}).get("original_name")):
                return self._described(snap)
        return None

    def find_id(self, snapshot_id: int) -> BackendSnapshot | None:
        return next((self._described(snap) for snap in self._snaps() if snap["id"] == snapshot_id), None)

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        wanted = {rbd_names.snapshot_part(name, self.name): name for name in names}
        snaps = [snap for snap in self._snaps() if snap["name"] in wanted]
        return {wanted[snap["name"]]: self._described(snap) for snap in snaps}

    def rename(self, old: str, new: str) -> None:
        self.image.rename_snap(*(rbd_names.snapshot_part(name, self.name) for name in (old, new)))

    def name_of(self, snapshot_id: int) -> str | None:
        """What the snapshot is called within the image; None where it is gone.

        It isn't described: librbd ends the process when it is asked for the time of a snapshot that went meanwhile,
        which an image that is open for writing learns of.
        """
        return next((str(snap["name"]) for snap in self._snaps() if snap["id"] == snapshot_id), None)

    def short_name(self, snapshot: BackendSnapshot) -> str:
        """What the snapshot is called within the image."""
        return rbd_names.snapshot_part(snapshot.name, self.name)

    def _snaps(self) -> list[Mapping[str, Any]]:
        with suppress(UnicodeDecodeError):
            return list(self.image.list_snaps())
        if not self._id:
            listed = Listed(self.name, "", self.name.encode())
            raise ImageUnreadable(listed, "names of its snapshots aren't UTF-8", "rename them (rbd snap rename)")
        gone = (self._bindings.rbd.ImageNotFound, self._bindings.rados.ObjectNotFound)
        return list(raw.snapshots(self._ioctx, self.image, gone))

    def _described(self, snap: Mapping[str, Any]) -> BackendSnapshot:
        ids = str(Ids(self._id, snap["id"]))
        why = next(self._reasons(snap), None)
        noted: datetime = self.image.get_snap_timestamp(snap["id"]).replace(tzinfo=UTC)
        return BackendSnapshot(
            name=f"{self.name}@{snap['name']}",
            identity=ids if self._id else f"format-1 {self.name}@{snap['id']}",
            size_bytes=snap["size"],
            parent=self.name,
            parent_identity=self._id or None,
            # Format 1 and old clusters note no time.
            created_at=noted if noted.timestamp() else None,
            unsafe=Unsafe.UNUSABLE if why else None,
            unsafe_reason=why or "",
            extra={"source-id": ids} if self._id else {},
        )

    def _reasons(self, snap: Mapping[str, Any]) -> Iterator[str]:
        """Why the snapshot can't be managed, as clauses."""
        kind = snap["namespace"]
        if kind != USER:
            yield _NOT_A_USERS.get(kind, f"RBD keeps it for itself (namespace {kind})")
        if snap.get("odd"):
            yield ODD_NAME
        if self.refusal:
            yield self.refusal
