"""Protecting managed snapshots from being removed, so that each can be given back as it was.

That a snapshot was unprotected before is noted in the image's own metadata before it is protected, and
the note is removed after it was unprotected: whoever takes over in between finds what is left to do.
Notes go by the snapshot's id, which no other snapshot of the image ever gets.

These steps, unlike a rename, take the image's exclusive lock where it has one. Who was killed with it keeps it
until the cluster has given it up (`osd_client_watch_timeout`, 30 s); so long others wait, and are tried again.
"""

from typing import Any

from snapmanage import crash, errors
from snapmanage.crash import Point

LAYERING = 1


def refuse_unprotectable(image: Any) -> None:
    """Raise `Unusable` for an image whose snapshots can't be protected; asked before anything is done."""
    if not image.features() & LAYERING:
        raise errors.Unusable(
            f"snapshots of {image.get_name()!r} can't be protected, since it lacks the feature layering: "
            "turn rbd_protect off to manage them without"
        )


def protect(image: Any, snap_id: int, name: str) -> None:
    """Protect a snapshot, remembering that it wasn't; done twice equals once."""
    if not image.is_protected_snap(name):
        image.metadata_set(_note(snap_id), "unprotected")
        crash.at(Point.PROTECTION_NOTED)
        image.protect_snap(name)


def restore(image: Any, snap_id: int, name: str | None, busy: type[Exception]) -> None:
    """Unprotect a snapshot that we protected; `name` is None where it is gone. `InUse` while it has clones."""
    try:
        image.metadata_get(_note(snap_id))
    except KeyError:
        return
    if name is not None and image.is_protected_snap(name):
        try:
            image.unprotect_snap(name)
        except busy as failure:
            raise errors.InUse(
                f"{image.get_name()}@{name} was unprotected before it was managed, and can't be again while it has "
                "clones: flatten or remove them (rbd children), then unmanage it again"
            ) from failure
    crash.at(Point.UNPROTECTED)
    image.metadata_remove(_note(snap_id))


def _note(snap_id: int) -> str:
    return f"snapmanage.before.{snap_id}"
