"""Relations between the images of a directory: which are volumes, which are snapshots, and of which volume.

The image on top of a chain is the volume. Each backing file below it is a snapshot of that volume, and so is each
internal snapshot of any image of the chain. A snapshot below several volumes (a shared base, an abandoned branch) has
no single parent: it gets one only if the caller names one of these volumes.

This module reads no file and follows no backing file name; `image` does both.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe
from snapmanage.drivers.qcow2.format import InternalSnapshot
from snapmanage.drivers.qcow2.image import MAX_NAME_BYTES, Image, Overlay, overlay
from snapmanage.drivers.qcow2.obstacles import Obstacles

_MAX_LISTED_OVERLAYS = 10


class Chains:
    """The images of one scan."""

    def __init__(
        self, images: Sequence[Image], directory_paths: Collection[str], obstacles: Obstacles | None = None
    ) -> None:
        """Connect overlays to their backing files; a file may be in `images` once for each of its names."""
        self._images = {image.identity: image for image in consolidate(images, directory_paths)}
        self._obstacles = obstacles or Obstacles()
        self._by_name = {name: image for image in self._images.values() for name in image.names}
        found = (overlay(image, directory_paths) for image in self._images.values())
        self._overlays = {each.image.identity: each for each in found if each}
        self._overlays_of: dict[str, list[Overlay]] = {}
        self._overlays_recording: dict[str, list[Overlay]] = {}
        for each in self._overlays.values():
            if each.backing_file:
                self._overlays_recording.setdefault(each.backing_file, []).append(each)
            if backing := self._backing_image(each):
                self._overlays_of.setdefault(backing.identity, []).append(each)
        self._unusable_reasons: dict[str, str] = {}
        # Identities of the images that have a usable volume on top of them.
        self._below_usable_volume: set[str] = set()
        self._volumes = self._find_volumes()

    def image(self, name: str) -> Image | None:
        return self._by_name.get(name)

    def image_with_identity(self, identity: str) -> Image | None:
        return self._images.get(identity)

    def overlays_of(self, image: Image) -> Sequence[Overlay]:
        """Return the overlays that have the image as their backing file, under any of its names."""
        return self._overlays_of.get(image.identity, ())

    def overlays_recording(self, name: str) -> Sequence[Overlay]:
        """Return the overlays that record this backing file, even if no such file exists."""
        return self._overlays_recording.get(name, ())

    def rename_obstacle(self, name: str, identity: str) -> str:
        """Return why the file, which need not be an image, can't be renamed, as a clause; empty if it can."""
        image = self.image(name)
        return self._obstacles.of_image(identity, image.names if image else (name,))

    def name_obstacle(self, name: str) -> str:
        """Return, as a clause, which file refers to `name` in a form that can't be rewritten; empty if none does."""
        return self._obstacles.of_name(name)

    def unreadable(self) -> list[tuple[str, str]]:
        """Return the images that can't be read, or whose internal snapshots can't, with the reasons."""
        images = self._images.values()
        reasons = ((image.names[0], image.header.internal_error if image.header else image.error) for image in images)
        return [(name, reason) for name, reason in reasons if reason]

    def snapshots(self) -> Iterator[BackendSnapshot]:
        for image in self._images.values():
            if overlays := self.overlays_of(image):
                yield self.external(image, min(each.backing_file or "" for each in overlays))
            for internal in image.header.internal_snapshots if image.header else ():
                yield self.internal(image, image.names[0], internal)

    def volumes(self) -> Iterator[BackendVolume]:
        """Yield the images on top of the chains."""
        return (self.volume(each, each.names[0]) for each in self._images.values() if not self.overlays_of(each))

    def volume(self, image: Image, name: str) -> BackendVolume:
        """Describe the image as a volume with one of its names."""
        reason = self.unusable_reason(image)
        return BackendVolume(
            name=name,
            identity=image.identity,
            size_bytes=image.size_bytes,
            created_at=image.created_at,
            unsafe=Unsafe.UNUSABLE if reason else None,
            unsafe_reason=reason,
            extra={"format": "qcow2" if image.header else "raw"} if not image.error else {},
        )

    def external(self, image: Image, name: str) -> BackendSnapshot:
        """Describe the image as a snapshot with one of its names, even if it is no backing file."""
        overlays = self.overlays_of(image)
        extra = {"kind": "external", "format": "qcow2" if image.header else "raw"}
        if overlays:
            extra["overlays"] = ", ".join(sorted(each.name for each in overlays)[:_MAX_LISTED_OVERLAYS])
        found = BackendSnapshot(name, image.identity, image.size_bytes, None, created_at=image.created_at, extra=extra)
        return self._with_parent_and_safety(found, image, self._unmanageable_reason(image, name, overlays), overlays)

    def internal(self, image: Image, name: str, snapshot: InternalSnapshot) -> BackendSnapshot:
        found = BackendSnapshot(
            name=f"{name}/{snapshot.id}",
            identity=f"{image.identity}/{snapshot.mark}",
            size_bytes=snapshot.size_bytes,
            parent=None,
            created_at=snapshot.created_at,
            extra={"kind": "internal", "internal_name": snapshot.name},
        )
        reason = self.unusable_reason(image) or self._unusable_volume_reason(image)
        return self._with_parent_and_safety(found, image, reason)

    def for_volume(self, volume: str, found: BackendSnapshot, image: Image) -> BackendSnapshot:
        """Return the snapshot with `volume` as its parent if that is above the image; else with another volume."""
        volumes = self._volumes_above(image)
        parent = next((each for each in volumes if volume in each.names), volumes[0] if volumes else None)
        return replace(found, parent=parent.names[0], parent_identity=parent.identity) if parent else found

    def unusable_reason(self, image: Image) -> str:
        """Return why the image doesn't show reliable data, as a clause: a flaw of its own or of an image below it."""
        path: dict[str, Image] = {}
        below: Image | None = image
        while below and below.identity not in self._unusable_reasons and below.identity not in path:
            path[below.identity] = below
            as_overlay = self._overlays.get(below.identity)
            below = self._backing_image(as_overlay) if as_overlay else None
        reason = ""
        if below and below.identity in path:
            # The text names the same image wherever the walk entered the loop.
            loop = list(path.values())[list(path).index(below.identity) :]
            reason = f"the chain below {min(each.names[0] for each in loop)!r} is a loop"
        elif below:
            reason = self._unusable_reasons[below.identity]
        for each in reversed(path.values()):
            if not reason and (own := self._own_unusable_reason(each)):
                reason = f"{each.names[0]!r}: {own}"
            self._unusable_reasons[each.identity] = reason
        return self._unusable_reasons[image.identity]

    def _with_parent_and_safety(
        self, found: BackendSnapshot, image: Image, unusable_reason: str, overlays: Sequence[Overlay] = ()
    ) -> BackendSnapshot:
        reason = unusable_reason
        if not reason and image.locked:
            reason = "a process holds a lock on the file"
        if not reason and (locked := next((each.name for each in overlays if each.image.locked), None)):
            reason = f"a process holds a lock on its overlay {locked!r}"
        unsafe = Unsafe.UNUSABLE if unusable_reason else Unsafe.IN_USE if reason else None
        volume = self._volumes.get(image.identity)
        if volume is None:
            return replace(found, unsafe=unsafe, unsafe_reason=reason)
        parent, identity = volume.names[0], volume.identity
        return replace(found, parent=parent, parent_identity=identity, unsafe=unsafe, unsafe_reason=reason)

    def _unusable_volume_reason(self, image: Image) -> str:
        """Return why no volume on top of the image can be registered, though the image itself is usable."""
        if image.identity in self._below_usable_volume or not (volumes := self._volumes_above(image)):
            return ""
        return f"its volume {volumes[0].names[0]!r} can't be registered: {self.unusable_reason(volumes[0])}"

    def _unmanageable_reason(self, image: Image, name: str, overlays: Sequence[Overlay]) -> str:
        """Return why the image can't be used as a snapshot of this name, or can't be renamed."""
        if reason := self.unusable_reason(image):
            return reason
        if len(name.encode()) > MAX_NAME_BYTES:
            return f"its name is too long to be restored later: rename it to at most {MAX_NAME_BYTES} bytes first"
        for each in overlays:
            if each.rebase_refusal:
                return f"its overlay {each.name!r} can't record another backing file name: {each.rebase_refusal}"
        obstacle = self._obstacles.of_image(image.identity, image.names)
        if reason := obstacle or self._unusable_volume_reason(image):
            return reason
        return f"{name!r}: {image.immovable_reason}" if image.immovable_reason else ""

    def _own_unusable_reason(self, image: Image) -> str:
        if image.error or image.header is None:
            return image.error
        as_overlay = self._overlays.get(image.identity)
        if image.header.unusable_reason or as_overlay is None:
            return image.header.unusable_reason
        if not as_overlay.error and self._backing_image(as_overlay) is None:
            return f"its backing file {as_overlay.backing_file!r} doesn't exist, or is not a regular file"
        return as_overlay.error

    def _backing_image(self, each: Overlay) -> Image | None:
        return self._by_name.get(each.backing_file) if each.backing_file else None

    def _volumes_above(self, image: Image) -> list[Image]:
        seen, pending, volumes = {image.identity}, [image], []
        while pending:
            overlays = self.overlays_of(each := pending.pop())
            if not overlays:
                volumes.append(each)
            unseen = [above.image for above in overlays if above.image.identity not in seen]
            seen.update(above.identity for above in unseen)
            pending.extend(unseen)
        return volumes

    def _find_volumes(self) -> dict[str, Image | None]:
        """Return the volume on top of each image, by identity; None for several volumes or a loop."""
        unvisited = Counter({identity: len(overlays) for identity, overlays in self._overlays_of.items()})
        ready = [image for identity, image in self._images.items() if identity not in unvisited]
        volumes: dict[str, Image | None] = {image.identity: image for image in ready}
        self._below_usable_volume.update(image.identity for image in ready if not self.unusable_reason(image))
        while ready:
            image = ready.pop()
            as_overlay = self._overlays.get(image.identity)
            if as_overlay is None or (below := self._backing_image(as_overlay)) is None:
                continue
            volume = volumes[image.identity]
            if image.identity in self._below_usable_volume:
                self._below_usable_volume.add(below.identity)
            volumes[below.identity] = volume if volumes.get(below.identity, volume) is volume else None
            unvisited[below.identity] -= 1
            if not unvisited[below.identity]:
                ready.append(below)
        return volumes


def consolidate(images: Sequence[Image], directory_paths: Collection[str]) -> list[Image]:
    """Return one image for each file, with all its names; raw if an overlay records it as raw.

    The recorded format wins over the file's name and data.
    """
    by_identity: dict[str, Image] = {}
    for image in images:
        if first := by_identity.get(image.identity):
            image = replace(first, names=tuple(sorted({*first.names, *image.names})))
        by_identity[image.identity] = image
    overlays = (overlay(image, directory_paths) for image in by_identity.values())
    raw = {each.backing_file for each in overlays if each and each.format == "raw" and each.backing_file}
    return [image.as_raw() if raw.intersection(image.names) else image for image in by_identity.values()]
