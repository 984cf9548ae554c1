"""One open RBD image: its snapshots as snapmanage describes them, and renaming among them."""

from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any

from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe
from snapmanage.drivers import rbd_names
from snapmanage.drivers.rbd_names import Ids

USER = 0
# Why a snapshot can't be renamed, by the namespace in which librbd lists it.
_NOT_A_USERS = {
    1: "it is part of a group's snapshot, and can't be renamed alone",
    2: "it was removed, and lies in the trash because clones need it",
    3: "it belongs to mirroring",
}


class OpenImage:
    """An image while it is open; the names of `look` and `rename` are whole names."""

    def __init__(self, image: Any) -> None:
        self.image = image
        self.name: str = image.get_name()
        self._id: str = image.id()

    def volume(self) -> BackendVolume:
        return BackendVolume(self.name, self._id, self.image.size())

    def snapshots(self) -> list[BackendSnapshot]:
        """Every snapshot that a user made."""
        return [self._described(snap) for snap in self._snaps() if snap["namespace"] == USER]

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

    def short_name(self, snapshot: BackendSnapshot) -> str:
        """What the snapshot is called within the image."""
        return rbd_names.snapshot_part(snapshot.name, self.name)

    def _snaps(self) -> Iterator[Mapping[str, Any]]:
        yield from self.image.list_snaps()

    def _described(self, snap: Mapping[str, Any]) -> BackendSnapshot:
        identity = str(Ids(self._id, snap["id"]))
        kind = snap["namespace"]
        return BackendSnapshot(
            name=f"{self.name}@{snap['name']}",
            identity=identity,
            size_bytes=snap["size"],
            parent=self.name,
            parent_identity=self._id,
            created_at=self.image.get_snap_timestamp(snap["id"]).replace(tzinfo=UTC),
            unsafe=None if kind == USER else Unsafe.UNUSABLE,
            unsafe_reason="" if kind == USER else _NOT_A_USERS.get(kind, f"RBD keeps it for itself (namespace {kind})"),
            extra={"source-id": identity},
        )
