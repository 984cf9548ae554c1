"""Protection of managed snapshots against removal, and its exact reversal.

Before a snapshot is protected, a key in the image's metadata records that it was unprotected. The key is removed only
after the snapshot was unprotected again. A worker that takes over in between finds the key and finishes the work.
The key has the snapshot's id, which RBD never gives to another snapshot of the image.

Unlike a rename, these steps take the image's exclusive lock, where it has one. A killed process keeps that lock until
the cluster revokes it (`osd_client_watch_timeout`, 30 s). Until then other workers wait and retry.
"""

from collections.abc import Iterable
from typing import Any

from snapmanage import crash, errors
from snapmanage.crash import Point

LAYERING = 1
# The keys in the metadata of an image, each followed by the id of a snapshot.
NOTE = "snapmanage.before."


def refuse_unprotectable(image: Any) -> None:
    """Raise `Unusable` for an image whose snapshots can't be protected; call it before the rename."""
    if not image.features() & LAYERING:
        raise errors.Unusable(
            f"snapshots of {image.get_name()!r} can't be protected: the image lacks the feature layering; "
            "turn rbd_protect off to manage them unprotected"
        )


def protect(image: Any, snap_id: int, name: str) -> None:
    """Protect a snapshot, and record that it was unprotected; repeating the call changes nothing."""
    if not image.is_protected_snap(name):
        image.metadata_set(_metadata_key(snap_id), "unprotected")
        crash.at(Point.PROTECTION_NOTED)
        image.protect_snap(name)


def restore(image: Any, snap_id: int, name: str | None, busy: type[Exception]) -> None:
    """Unprotect a snapshot that `protect` protected; `name` is None where the snapshot is gone.

    Raise `InUse` while the snapshot has clones; `busy` is the bindings' error for that.
    """
    try:
        image.metadata_get(_metadata_key(snap_id))
    except KeyError:
        return
    if name is not None and image.is_protected_snap(name):
        try:
            image.unprotect_snap(name)
        except busy as failure:
            raise errors.InUse(
                f"{image.get_name()}@{name} can't be unprotected, as it was before it was managed: it has clones; "
                "flatten or remove them (rbd children), then unmanage it again"
            ) from failure
    crash.at(Point.UNPROTECTED)
    image.metadata_remove(_metadata_key(snap_id))


def noted(keys: Iterable[str]) -> set[int]:
    """Return the ids of the snapshots that `protect` protected, from the keys of the image's metadata."""
    numbers = {key.removeprefix(NOTE) for key in keys}
    return {int(each) for each in numbers if each.isascii() and each.isdecimal()}


def _metadata_key(snap_id: int) -> str:
    return f"{NOTE}{snap_id}"
