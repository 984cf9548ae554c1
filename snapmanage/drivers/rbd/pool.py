"""An open pool: its images by name and id, and why one of them can't be opened.

"Not found" at opening an image has several causes: the image is gone, its name object is missing, its header is, or
its parent's. The pool's directory tells the first from the others, and only the first is ever reported as gone.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume
from snapmanage.drivers.rbd import names
from snapmanage.drivers.rbd import raw as rbd_raw
from snapmanage.drivers.rbd import unreadable as rbd_unreadable
from snapmanage.drivers.rbd.cluster import Cluster
from snapmanage.drivers.rbd.image import OpenImage
from snapmanage.drivers.rbd.names import Ids
from snapmanage.drivers.rbd.unreadable import ImageUnreadable, Listed


class Pool:
    """The images of an open `rados.Ioctx`; `protect` says that managed snapshots must be protected."""

    def __init__(self, cluster: Cluster, ioctx: Any, name: str, protect: bool) -> None:
        self.cluster = cluster
        self.ioctx = ioctx
        self._name = name
        self._protect = protect
        self._bindings = cluster.bindings

    def images(self) -> list[Listed]:
        """Every image in the pool's directory, whether or not it can be opened."""
        with self.cluster.explained(f"listing the images of pool {self._name!r}"):
            with suppress(UnicodeDecodeError):
                found = list(self._bindings.rbd.RBD().list2(self.ioctx))
                return [Listed(each["name"], each["id"], each["name"].encode()) for each in found]
            return [Listed(rbd_raw.shown(raw), image_id, raw) for raw, image_id in rbd_raw.images(self.ioctx)]

    def verify(self) -> None:
        """Raise `BackendUnavailable` where the pool or the namespace isn't there."""
        self.cluster.verify(self.ioctx)

    @contextmanager
    def image(
        self, read_only: bool = True, *, name: str | bytes | None = None, image_id: str | None = None
    ) -> Iterator[OpenImage]:
        """Open an image; `SourceNotFound` where it is gone, `ImageUnreadable` where it is there all the same."""
        which = {"image_id": image_id} if image_id else {"name": name}
        with self._opened(read_only, which) as image, self.cluster.explained(f"image {name or image_id!r}"):
            yield OpenImage(image, self.ioctx, self._bindings, self._protect)

    def snapshots(self, listed: Listed) -> list[BackendSnapshot]:
        """Every snapshot of an image."""
        with self.image(**listed.handle) as image:  # type: ignore[arg-type]
            return image.snapshots()

    def find(self, name: str, volume: str | None) -> BackendSnapshot:
        """The snapshot of that name, or the entry of an image that can't be read; as `Driver.find_snapshot`."""
        try:
            if found := self._named(name, volume):
                return found
            if self._volume(name):
                raise errors.NotASnapshot(f"{name!r} is an image; name one of its snapshots: {name}@SNAPSHOT")
        except ImageUnreadable as failure:
            if failure.listed.name == name:
                return rbd_unreadable.entry(failure.listed, failure.reason)
            raise
        raise errors.SourceNotFound(
            f"pool {self._name!r} has no snapshot {name!r}; a name is IMAGE@SNAPSHOT, or SNAPSHOT on the volume"
            f"{self._in_trash(name)}"
        )

    def find_id(self, text: str, volume: str | None) -> BackendSnapshot:
        """The snapshot of IMAGE_ID@SNAPSHOT_ID, or of SNAPSHOT_ID on the volume."""
        ids = Ids.parse(text)
        if ids.image is None and volume is None:
            raise errors.InvalidReference(f"source-id {text!r} must be IMAGE_ID@SNAPSHOT_ID where no volume is known")
        with suppress(errors.SourceNotFound), self.image(name=volume, image_id=ids.image) as image:
            if found := image.find_id(ids.snapshot):
                return found
        raise errors.SourceNotFound(f"pool {self._name!r} has no snapshot of the id {text!r}")

    def find_volume(self, name: str) -> BackendVolume:
        if volume := self._volume(name):
            return volume
        if self._named(name, None):
            raise errors.NotAVolume(f"{name!r} is a snapshot; name the image that it was taken of")
        raise errors.SourceNotFound(f"pool {self._name!r} has no image {name!r}{self._in_trash(name)}")

    def _named(self, name: str, volume: str | None) -> BackendSnapshot | None:
        """The snapshot called IMAGE@SNAPSHOT, or SNAPSHOT on the volume.

        `ImageUnreadable` where none is found, and an image that it could be of can't be read.
        """
        unreadable: ImageUnreadable | None = None
        for reading in names.readings(name, volume):
            try:
                with self.image(name=reading.image) as image:
                    if found := image.find(reading.snapshot):
                        return found
            except errors.SourceNotFound:
                continue
            except ImageUnreadable as failure:
                unreadable = unreadable or failure
        if unreadable:
            raise unreadable
        return None

    def _volume(self, name: str) -> BackendVolume | None:
        with suppress(errors.SourceNotFound), self.image(name=name) as image:
            return image.volume()
        return None

    def _in_trash(self, name: str) -> str:
        """A clause that an image of that name lies in the trash, empty where none does."""
        # The bindings of Ceph 16 don't know all sources of images in the trash, nor names that aren't UTF-8.
        with suppress(IndexError, UnicodeDecodeError), self.cluster.explained("listing the trash"):
            for each in self._bindings.rbd.RBD().trash_list(self.ioctx):
                if each["name"] == name or name.startswith(f"{each['name']}@"):
                    return f"; the image {each['name']!r} lies in the trash (rbd trash restore {each['id']})"
        return ""

    def _opened(self, read_only: bool, which: dict[str, Any]) -> Any:
        rbd = self._bindings.rbd
        try:
            image = rbd.Image(self.ioctx, read_only=read_only, **which)
            image.get_name()  # which fails with some arguments only when it is asked for
            return image
        except UnicodeDecodeError as failure:
            raise ImageUnreadable(self._meant(which), "its name isn't UTF-8", "rename it (rbd rename)") from failure
        except rbd.ImageNotFound as failure:
            return self._found_otherwise(read_only, which, failure)
        except (rbd.Error, self._bindings.rados.Error) as failure:
            number = getattr(failure, "errno", 0)
            if number not in rbd_unreadable.REMEDIES:
                raise self.cluster.error(f"image {next(iter(which.values()))!r}", failure) from failure
            remedy = rbd_unreadable.REMEDIES[number]
            raise ImageUnreadable(self._meant(which), os.strerror(number), remedy) from failure

    def _found_otherwise(self, read_only: bool, which: dict[str, Any], failure: Exception) -> Any:
        """Open the image by the id that the directory tells, where its name leads nowhere; raise why it can't be."""
        listed = self._listed(which)
        if listed is None:
            raise self.cluster.error(f"image {next(iter(which.values()))!r}", failure) from failure
        if dict(listed.handle) != which:
            return self._opened(read_only, dict(listed.handle))
        raise ImageUnreadable(listed, os.strerror(errno.ENOENT), self._missing(listed)) from failure

    def _listed(self, which: dict[str, Any]) -> Listed | None:
        """The image in the directory, or one that is in none and whose header is there all the same: in the trash."""
        image_id, name = which.get("image_id"), which.get("name")
        name = rbd_raw.shown(name) if isinstance(name, bytes) else name
        if found := next((each for each in self.images() if each.bears(name, image_id)), None):
            return found
        return Listed(image_id, image_id, b"") if image_id and self._has_header(image_id) else None

    def _missing(self, listed: Listed) -> str:
        if not listed.image_id:
            return rbd_unreadable.NO_HEADER_1
        if self._has_header(listed.image_id):
            return rbd_unreadable.NO_PARENT
        return rbd_unreadable.NO_HEADER.format(listed.image_id)

    def _has_header(self, image_id: str) -> bool:
        with self.cluster.explained(f"image {image_id!r}"):
            try:
                self.ioctx.stat(f"rbd_header.{image_id}")
            except self._bindings.rados.ObjectNotFound:
                return False
        return True

    def _meant(self, which: dict[str, Any]) -> Listed:
        """The image in the directory, or what is known of it where the directory doesn't know it any more."""
        return self._listed(which) or Listed(str(next(iter(which.values()))), which.get("image_id", ""), b"")
