"""The snapshots of one image, as a `renaming.Renamer`: one look opens the image once for a whole batch."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Self

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.drivers.rbd import raw
from snapmanage.drivers.rbd.image import OpenImage
from snapmanage.drivers.rbd.names import SnapshotIds, snapshot_part
from snapmanage.drivers.rbd.pool import Pool


class ImageRenamer:
    """Finds and renames the snapshots of one image; close it in the end, as a context manager.

    Each look opens the image again: an image that stays open learns of other processes' renames with a delay.

    The names of most images are only in their headers. The OSD changes such a name by the snapshot's id, in one step,
    and the clients that have the image open are notified once a batch. librbd renames in the other images, such as
    those with a journal. `check` raises an error for an image that must not be touched.
    """

    def __init__(self, pool: Pool, image_id: str, check: Callable[[Any], None] | None = None) -> None:
        self._pool = pool
        self._rados = pool.cluster.bindings.rados
        self._image_id = image_id
        self._image_name = image_id
        self._check = check
        self._ids: dict[str, int] = {}
        self._plain = False
        self._features = 0
        self._unannounced = False
        self._writable: OpenImage | None = None
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._finish_renames()

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        self._finish_renames()
        with self._pool.open_image(image_id=self._image_id) as image:
            if self._check:
                self._check(image.image)
            self._image_name, self._plain = image.name, image.has_plain_header
            self._features = image.image.features()
            found = image.find_all(*names)
        self._ids = {name: SnapshotIds.parse(each.identity).snapshot for name, each in found.items()}
        return found

    def is_still(self, name: str, identity: str) -> bool:
        try:
            with self._pool.cluster.translate_errors(f"image {self._image_name!r}"):
                self._refuse_changed_features()
                ids = SnapshotIds.parse(identity)
                present = raw.read_snapshot_name(self._pool.ioctx, self._image_id, ids.snapshot)
                return present == snapshot_part(name, self._image_name).encode()
        except errors.SourceNotFound:
            return False

    def rename(self, old: str, new: str) -> None:
        try:
            with self._pool.cluster.translate_errors(f"image {self._image_name!r}"):
                if self._plain:
                    self._rename_in_header(self._ids[old], snapshot_part(new, self._image_name))
                else:
                    self._open_for_writing().rename(old, new)
        except errors.SourceNotFound as failure:
            # `renaming` looks again, and reports a snapshot as gone only if that look doesn't find it.
            raise errors.Unusable(f"{old!r} can't be renamed, although it is listed: {failure}") from failure

    def _refuse_changed_features(self) -> None:
        """Raise `BackendBusy` if the image got a journal after the look, or is being migrated or demoted.

        If librbd renames, it looks at them itself.
        """
        if self._plain and raw.read_features(self._pool.ioctx, self._image_id) != self._features:
            raise errors.BackendBusy(
                f"the features of the image {self._image_name!r} have just changed; its snapshots are renamed later"
            )

    def _rename_in_header(self, snapshot_id: int, name: str) -> None:
        try:
            raw.rename_snapshot(self._pool.ioctx, self._rados, self._image_id, snapshot_id, name)
        except self._rados.TimedOut:
            # A notification has no time limit while the OSD hangs.
            self._unannounced = False
            raise
        self._unannounced = True

    def _open_for_writing(self) -> OpenImage:
        if self._writable is None:
            opened = self._pool.open_image(read_only=False, image_id=self._image_id)
            self._writable = self._closing.enter_context(opened)
        return self._writable

    def _finish_renames(self) -> None:
        """Close the image, and notify the clients that have it open; one that doesn't answer learns of it later."""
        self._closing.close()
        self._writable = None
        if self._unannounced:
            self._unannounced = False
            with suppress(self._rados.Error):
                raw.announce_change(self._pool.ioctx, self._image_id)
