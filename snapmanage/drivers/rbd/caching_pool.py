"""A pool for one batch of look-ups, whose images stay open for the next look-up."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, Self

from snapmanage import errors
from snapmanage.drivers.rbd.cluster import Cluster
from snapmanage.drivers.rbd.image import OpenImage
from snapmanage.drivers.rbd.pool import Pool
from snapmanage.drivers.rbd.unreadable import ImageEntry

Handle = tuple[str | bytes | None, str | None]
# A name with several @ has readings in several images; all are closed when this many are open.
MOST_OPEN = 8


class CachingPool(Pool):
    """Opens each image once, and reads the pool's directory once; close it in the end, as a context manager.

    An image that can't be opened has the same error for each look-up of the batch.
    """

    def __init__(self, cluster: Cluster, ioctx: Any, name: str, protect: bool) -> None:
        super().__init__(cluster, ioctx, name, protect)
        self._opened: dict[Handle, OpenImage] = {}
        self._failures: dict[Handle, errors.SnapmanageError] = {}
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_images()

    def images(self) -> list[ImageEntry]:
        return self._directory

    @contextmanager
    def open_image(
        self, read_only: bool = True, *, name: str | bytes | None = None, image_id: str | None = None
    ) -> Iterator[OpenImage]:
        if not read_only:
            raise ValueError("the images of a CachingPool are open for reading only")
        with self.cluster.translate_errors(f"image {name or image_id!r}"):
            yield self._open_once((name, image_id))

    @cached_property
    def _directory(self) -> list[ImageEntry]:
        return super().images()

    def _open_once(self, handle: Handle) -> OpenImage:
        if handle in self._failures:
            raise self._failures[handle]
        if handle not in self._opened:
            if len(self._opened) == MOST_OPEN:
                self._close_images()
            name, image_id = handle
            try:
                self._opened[handle] = self._closing.enter_context(super().open_image(name=name, image_id=image_id))
            except errors.SnapmanageError as failure:
                self._failures[handle] = failure
                raise
        return self._opened[handle]

    def _close_images(self) -> None:
        self._opened.clear()
        self._closing.close()
