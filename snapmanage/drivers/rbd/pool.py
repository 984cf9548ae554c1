"""An open pool: its images by name and id, and the reasons why an image can't be opened.

librbd reports "not found" for an image that is gone, and also where its name object, its header or its parent is
missing. The pool's directory shows the difference. Only an image that is missing from the directory counts as gone.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, refuse_unsafe
from snapmanage.drivers.rbd import raw, unreadable
from snapmanage.drivers.rbd.cluster import Cluster
from snapmanage.drivers.rbd.image import OpenImage
from snapmanage.drivers.rbd.names import Reading, SnapshotIds, few_readings
from snapmanage.drivers.rbd.unreadable import ImageEntry, ImageUnreadable


class Pool:
    """The images of an open `rados.Ioctx`; `protect` is true if managed snapshots are protected."""

    def __init__(self, cluster: Cluster, ioctx: Any, name: str, protect: bool) -> None:
        self.cluster = cluster
        self.ioctx = ioctx
        self._name = name
        self._protect = protect
        self._bindings = cluster.bindings

    def images(self) -> list[ImageEntry]:
        """Return every image of the pool's directory, including those that can't be opened."""
        with self.cluster.translate_errors(f"the directory of pool {self._name!r}"):
            with suppress(UnicodeDecodeError):
                found = list(self._bindings.rbd.RBD().list2(self.ioctx))
                return [ImageEntry(each["name"], each["id"], each["name"].encode()) for each in found]
            return [ImageEntry(raw.escape(name), image_id, name) for name, image_id in raw.read_directory(self.ioctx)]

    def verify(self) -> None:
        """Raise `BackendUnavailable` where the pool or the namespace doesn't exist."""
        self.cluster.verify(self.ioctx)

    @contextmanager
    def open_image(
        self, read_only: bool = True, *, name: str | bytes | None = None, image_id: str | None = None
    ) -> Iterator[OpenImage]:
        """Open an image; raise `SourceNotFound` where it is gone, `ImageUnreadable` where it can't be opened."""
        handle = {"image_id": image_id} if image_id else {"name": name}
        with self._open(read_only, handle) as image, self.cluster.translate_errors(f"image {name or image_id!r}"):
            yield OpenImage(image, self.ioctx, self._bindings, self._protect)

    def snapshots(self, image: ImageEntry) -> list[BackendSnapshot]:
        """Return every snapshot of the image."""
        with self.open_image(**image.open_arguments) as opened:  # type: ignore[arg-type]
            return opened.snapshots()

    def volumes(self, image: ImageEntry) -> list[BackendVolume]:
        """Return the image as a volume, alone in a list."""
        with self.open_image(**image.open_arguments) as opened:  # type: ignore[arg-type]
            return [opened.volume()]

    def find(self, name: str, volume: str | None) -> BackendSnapshot:
        """Return the snapshot of that name, or the entry of an unreadable image; raise as `Driver.find_snapshot`."""
        try:
            if found := self._find_snapshot(name, volume):
                return found
            if self._find_image(name):
                raise errors.NotASnapshot(f"{name!r} is an image; name one of its snapshots: {name}@SNAPSHOT")
        except ImageUnreadable as failure:
            if failure.image.name == name:
                return unreadable.listing_entry(failure.image, failure.reason)
            raise
        raise errors.SourceNotFound(
            f"pool {self._name!r} has no snapshot {name!r}; use IMAGE@SNAPSHOT, or SNAPSHOT with a volume"
            f"{self._trash_hint(name)}"
        )

    def find_id(self, text: str, volume: str | None) -> BackendSnapshot:
        """Return the snapshot of IMAGE_ID@SNAPSHOT_ID, or of SNAPSHOT_ID on the volume."""
        ids = SnapshotIds.parse(text)
        if ids.image is None and volume is None:
            raise errors.InvalidReference(f"source-id {text!r} has no volume: use IMAGE_ID@SNAPSHOT_ID")
        with suppress(errors.SourceNotFound), self.open_image(name=volume, image_id=ids.image) as image:
            if found := image.find_id(ids.snapshot):
                return found
        raise errors.SourceNotFound(
            f"pool {self._name!r} has no snapshot with the id {text!r}; list the snapshots again"
        )

    def find_volume(self, name: str) -> BackendVolume:
        """Return the image of that name; raise as `Driver.find_volume`."""
        if volume := self._find_image(name):
            refuse_unsafe(volume)
            return volume
        if self._find_snapshot(name, None):
            raise errors.NotAVolume(f"{name!r} is a snapshot; name the image that it belongs to")
        raise errors.SourceNotFound(f"pool {self._name!r} has no image {name!r}{self._trash_hint(name)}")

    def readings(self, name: str, volume: str | None = None) -> Sequence[Reading]:
        return few_readings(name, volume, lambda: {each.name for each in self.images()})

    def _find_snapshot(self, name: str, volume: str | None) -> BackendSnapshot | None:
        """Return the snapshot of IMAGE@SNAPSHOT, or of SNAPSHOT on the volume; None where there is none.

        Raise `ImageUnreadable` where there is none and one of the possible images can't be read.
        """
        first_failure: ImageUnreadable | None = None
        for reading in self.readings(name, volume):
            try:
                with self.open_image(name=reading.image) as image:
                    if found := image.find(reading.snapshot):
                        return found
            except errors.SourceNotFound:
                continue
            except ImageUnreadable as failure:
                first_failure = first_failure or failure
        if first_failure:
            raise first_failure
        return None

    def _find_image(self, name: str) -> BackendVolume | None:
        with suppress(errors.SourceNotFound), self.open_image(name=name) as image:
            return image.volume()
        return None

    def _trash_hint(self, name: str) -> str:
        """Return a clause that names the image in the trash; empty where the trash has none of that name."""
        # The bindings of Ceph 16 fail on some sources of images in the trash, and on names that aren't UTF-8.
        with (
            suppress(IndexError, UnicodeDecodeError),
            self.cluster.translate_errors(f"the trash of pool {self._name!r}"),
        ):
            for each in self._bindings.rbd.RBD().trash_list(self.ioctx):
                if each["name"] == name or name.startswith(f"{each['name']}@"):
                    return f"; the image {each['name']!r} is in the trash (rbd trash restore {each['id']})"
        return ""

    def _open(self, read_only: bool, handle: dict[str, Any]) -> Any:
        """Open by `name` or `image_id`, or raise the reason why the image can't be opened."""
        rbd = self._bindings.rbd
        if self._is_migrating(**handle):
            raise ImageUnreadable(self._entry(handle), "it is being migrated", unreadable.FINISH_MIGRATION)
        try:
            image = rbd.Image(self.ioctx, read_only=read_only, **handle)
            # For some arguments an undecodable name fails only here.
            image.get_name()
            return image
        except UnicodeDecodeError as failure:
            raise ImageUnreadable(self._entry(handle), "its name isn't UTF-8", "rename it (rbd rename)") from failure
        except rbd.ImageNotFound as failure:
            return self._open_by_directory(read_only, handle, failure)
        except (rbd.Error, self._bindings.rados.Error) as failure:
            number = getattr(failure, "errno", 0)
            if number not in unreadable.REMEDIES:
                raise self.cluster.error(f"image {next(iter(handle.values()))!r}", failure) from failure
            remedy = unreadable.REMEDIES[number]
            raise ImageUnreadable(self._entry(handle), os.strerror(number), remedy) from failure

    def _is_migrating(self, name: str | bytes | None = None, image_id: str | None = None) -> bool:
        """Return whether a migration has the image as source or target; raise where the cluster doesn't answer in time.

        librbd 16 crashes with a segmentation fault if the cluster doesn't answer while it opens such an image. False if
        the image's objects are missing or broken: the opening then reports the reason.
        """
        rados = self._bindings.rados
        try:
            if isinstance(name, str):
                image_id = raw.read_image_id(self.ioctx, name)
            features = raw.read_features(self.ioctx, image_id) if image_id else 0
        except rados.TimedOut as failure:
            raise self.cluster.error(f"image {name or image_id!r}", failure) from failure
        except (rados.Error, errors.BackendError):
            return False
        return bool(features & self._bindings.rbd.RBD_FEATURE_MIGRATING)

    def _open_by_directory(self, read_only: bool, handle: dict[str, Any], failure: Exception) -> Any:
        """Open an image that librbd doesn't find by name, with the id from the directory."""
        entry = self._find_entry(handle)
        if entry is None:
            raise self.cluster.error(f"image {next(iter(handle.values()))!r}", failure) from failure
        if dict(entry.open_arguments) != handle:
            return self._open(read_only, dict(entry.open_arguments))
        raise ImageUnreadable(entry, os.strerror(errno.ENOENT), self._missing_object_remedy(entry)) from failure

    def _find_entry(self, handle: dict[str, Any]) -> ImageEntry | None:
        """Return the image's entry; the directory lacks images in the trash, so their headers are checked instead."""
        image_id, name = handle.get("image_id"), handle.get("name")
        name = raw.escape(name) if isinstance(name, bytes) else name
        if found := next((each for each in self.images() if each.matches(name, image_id)), None):
            return found
        return ImageEntry(image_id, image_id, b"") if image_id and self._has_header(image_id) else None

    def _missing_object_remedy(self, image: ImageEntry) -> str:
        if not image.image_id:
            return unreadable.NO_HEADER_FORMAT_1
        if self._has_header(image.image_id):
            return unreadable.NO_PARENT
        return unreadable.NO_HEADER.format(image.image_id)

    def _has_header(self, image_id: str) -> bool:
        with self.cluster.translate_errors(f"image {image_id!r}"):
            try:
                self.ioctx.stat(f"rbd_header.{image_id}")
            except self._bindings.rados.ObjectNotFound:
                return False
        return True

    def _entry(self, handle: dict[str, Any]) -> ImageEntry:
        """Return the image's entry, or one made of the handle where the directory has none any more."""
        return self._find_entry(handle) or ImageEntry(str(next(iter(handle.values()))), handle.get("image_id", ""), b"")
