"""The snapshots of one image, as a `renaming.Renamer`: one look opens the image once for a whole batch."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.drivers.rbd import raw
from snapmanage.drivers.rbd.image import OpenImage
from snapmanage.drivers.rbd.names import SnapshotIds, snapshot_part
from snapmanage.drivers.rbd.pool import Pool


class ImageRenamer:
    """Finds and renames the snapshots of one image; close it in the end, as a context manager.

    Each look opens the image again: an image that stays open learns of other processes' renames with a delay. All
    renames between two looks use one image that is open for writing. `check` raises an error for an image that must
    not be touched.
    """

    def __init__(self, pool: Pool, image_id: str, check: Callable[[Any], None] | None = None) -> None:
        self._pool = pool
        self._image_id = image_id
        self._image_name = image_id
        self._check = check
        self._writable: OpenImage | None = None
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        self._close()
        with self._pool.open_image(image_id=self._image_id) as image:
            if self._check:
                self._check(image.image)
            self._image_name = image.name
            return image.find_all(*names)

    def is_still(self, name: str, identity: str) -> bool:
        try:
            with self._pool.cluster.translate_errors(f"image {self._image_name!r}"):
                ids = SnapshotIds.parse(identity)
                present = raw.read_snapshot_name(self._pool.ioctx, self._image_id, ids.snapshot)
                return present == snapshot_part(name, self._image_name).encode()
        except errors.SourceNotFound:
            return False

    def rename(self, old: str, new: str) -> None:
        try:
            with self._pool.cluster.translate_errors(f"image {self._image_name!r}"):
                self._open_for_writing().rename(old, new)
        except errors.SourceNotFound as failure:
            # `renaming` looks again, and reports a snapshot as gone only if that look doesn't find it.
            raise errors.Unusable(f"{old!r} can't be renamed, although it is listed: {failure}") from failure

    def _open_for_writing(self) -> OpenImage:
        if self._writable is None:
            opened = self._pool.open_image(read_only=False, image_id=self._image_id)
            self._writable = self._closing.enter_context(opened)
        return self._writable

    def _close(self) -> None:
        self._closing.close()
        self._writable = None
