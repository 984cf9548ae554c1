"""What the images of a directory are to one another: which are volumes, which are snapshots, and of what.

An overlay is an image that records a backing file. The image on top, which no other records, is the
volume; each file below it is a snapshot of it, and so is each internal snapshot of any image of the
chain. Below several volumes (a shared base, a branch that was left behind) a snapshot has no parent
that could be told, unless the caller names one of them.

Nothing here reads a file, or follows what an image records: that is settled in `image`.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from snapmanage.core.backend import BackendSnapshot, Unsafe
from snapmanage.drivers.qcow2.format import InternalSnapshot
from snapmanage.drivers.qcow2.image import MAX_NAME_BYTES, Image, Overlay, overlay
from snapmanage.drivers.qcow2.obstacles import Obstacles

# The overlays that an operator is shown.
_SHOWN = 10


class Chains:
    """The images of one scan."""

    def __init__(
        self, images: Sequence[Image], directory_paths: Collection[str], obstacles: Obstacles | None = None
    ) -> None:
        """`images` may have one file several times, once under each name."""
        self._images = {image.identity: image for image in consolidate(images, directory_paths)}
        self._obstacles = obstacles or Obstacles()
        self._by_name = {name: image for image in self._images.values() for name in image.names}
        found = (overlay(image, directory_paths) for image in self._images.values())
        self._overlays = {each.image.identity: each for each in found if each}
        self._above: dict[str, list[Overlay]] = {}
        for each in self._overlays.values():
            if below := self._below(each):
                self._above.setdefault(below.identity, []).append(each)
        self._unusable_reasons: dict[str, str] = {}
        # The images that have a volume on top which can be registered.
        self._below_usable_volume: set[str] = set()
        self._volumes = self._find_parents()

    def image(self, name: str) -> Image | None:
        return self._by_name.get(name)

    def overlays_of(self, image: Image) -> Sequence[Overlay]:
        """The overlays that have the image as their backing file, under any of its names."""
        return self._above.get(image.identity, ())

    def overlays_recording(self, name: str) -> list[Overlay]:
        """The overlays that record this name, be there a file or not."""
        return [each for each in self._overlays.values() if each.backing == name]

    def rename_obstacle(self, name: str, identity: str) -> str:
        """What keeps the file from being renamed, whether it is an image or not, as a clause."""
        image = self.image(name)
        return self._obstacles.of_image(identity, image.names if image else (name,))

    def name_obstacle(self, name: str) -> str:
        """What may lead to this name and can't be changed, where the name has just been taken from its file."""
        return self._obstacles.of_name(name)

    def unreadable(self) -> list[tuple[str, str]]:
        """Images that can't be read, or whose internal snapshots can't, with the reasons."""
        images = self._images.values()
        told = ((image.names[0], image.header.internal_error if image.header else image.error) for image in images)
        return [(name, wrong) for name, wrong in told if wrong]

    def snapshots(self) -> Iterator[BackendSnapshot]:
        for image in self._images.values():
            if above := self.overlays_of(image):
                yield self.external(image, min(each.backing or "" for each in above))
            for internal in image.header.internal_snapshots if image.header else ():
                yield self.internal(image, image.names[0], internal)

    def external(self, image: Image, name: str) -> BackendSnapshot:
        """The image described as a snapshot under one of its names, be it one or not."""
        above = self.overlays_of(image)
        extra = {"kind": "external", "format": "qcow2" if image.header else "raw"}
        if above:
            extra["overlays"] = ", ".join(sorted(each.name for each in above)[:_SHOWN])
        found = BackendSnapshot(name, image.identity, image.size_bytes, None, created_at=image.created_at, extra=extra)
        return self._with_safety(found, image, self._unmanageable_reason(image, name, above), above)

    def internal(self, image: Image, name: str, entry: InternalSnapshot) -> BackendSnapshot:
        found = BackendSnapshot(
            name=f"{name}/{entry.id}",
            identity=f"{image.identity}/{entry.mark}",
            size_bytes=entry.size_bytes,
            parent=None,
            created_at=entry.created_at,
            extra={"kind": "internal", "internal_name": entry.name},
        )
        return self._with_safety(found, image, self.unusable_reason(image) or self._unusable_volume_reason(image))

    def for_volume(self, volume: str, found: BackendSnapshot, image: Image) -> BackendSnapshot:
        """A snapshot in the image told as this volume's, where it is one of several; otherwise as another's."""
        tops = self._volumes_above(image)
        owner = next((top for top in tops if volume in top.names), tops[0] if tops else None)
        return replace(found, parent=owner.names[0], parent_identity=owner.identity) if owner else found

    def unusable_reason(self, image: Image) -> str:
        """Why the data that the image shows can't be relied on, as a clause: in itself or anywhere below."""
        path: dict[str, Image] = {}
        below: Image | None = image
        while below and below.identity not in self._unusable_reasons and below.identity not in path:
            path[below.identity] = below
            on = self._overlays.get(below.identity)
            below = self._below(on) if on else None
        inherited = ""
        if below and below.identity in path:
            # The same text whichever image of the loop is looked at first.
            looped = list(path.values())[list(path).index(below.identity) :]
            inherited = f"the chain below {min(each.names[0] for each in looped)!r} is a loop"
        elif below:
            inherited = self._unusable_reasons[below.identity]
        for each in reversed(path.values()):
            if not inherited and (own := self._own_unusable_reason(each)):
                inherited = f"{each.names[0]!r}: {own}"
            self._unusable_reasons[each.identity] = inherited
        return self._unusable_reasons[image.identity]

    def _with_safety(
        self, found: BackendSnapshot, image: Image, unusable: str, above: Sequence[Overlay] = ()
    ) -> BackendSnapshot:
        reason = unusable or _lock(image, above)
        unsafe = Unsafe.UNUSABLE if unusable else Unsafe.IN_USE if reason else None
        volume = self._volumes.get(image.identity)
        if volume is None:
            return replace(found, unsafe=unsafe, unsafe_reason=reason)
        parent, identity = volume.names[0], volume.identity
        return replace(found, parent=parent, parent_identity=identity, unsafe=unsafe, unsafe_reason=reason)

    def _unusable_volume_reason(self, image: Image) -> str:
        """Why no volume on top of the image can be registered, though its own data can be relied on."""
        if image.identity in self._below_usable_volume or not (tops := self._volumes_above(image)):
            return ""
        return f"its volume {tops[0].names[0]!r} can't be registered: {self.unusable_reason(tops[0])}"

    def _unmanageable_reason(self, image: Image, name: str, above: Sequence[Overlay]) -> str:
        """Why the image can't be given another name than this, or be a snapshot under it."""
        if flaw := self.unusable_reason(image):
            return flaw
        if len(name.encode()) > MAX_NAME_BYTES:
            return f"it couldn't be given back: rename it to at most {MAX_NAME_BYTES} bytes first"
        for each in above:
            if each.rebase_refusal:
                return f"its overlay {each.name!r} can't be told another name: {each.rebase_refusal}"
        obstacle = self._obstacles.of_image(image.identity, image.names)
        return (
            obstacle
            or self._unusable_volume_reason(image)
            or (image.immovable_reason and f"{name!r}: {image.immovable_reason}")
        )

    def _own_unusable_reason(self, image: Image) -> str:
        if image.error or image.header is None:
            return image.error
        on = self._overlays.get(image.identity)
        if image.header.unusable_reason or on is None:
            return image.header.unusable_reason
        if not on.error and self._below(on) is None:
            return f"its backing file {on.backing!r} isn't there, or is no regular file"
        return on.error

    def _below(self, each: Overlay) -> Image | None:
        return self._by_name.get(each.backing) if each.backing else None

    def _volumes_above(self, image: Image) -> list[Image]:
        seen, pending, tops = {image.identity}, [image], []
        while pending:
            above = self.overlays_of(each := pending.pop())
            if not above:
                tops.append(each)
            fresh = [on.image for on in above if on.image.identity not in seen]
            seen.update(on.identity for on in fresh)
            pending.extend(fresh)
        return tops

    def _find_parents(self) -> dict[str, Image | None]:
        """The volume on top of each image; none where there are several, or a loop."""
        waiting = Counter({identity: len(above) for identity, above in self._above.items()})
        ready = [image for identity, image in self._images.items() if identity not in waiting]
        owners: dict[str, Image | None] = {image.identity: image for image in ready}
        self._below_usable_volume.update(image.identity for image in ready if not self.unusable_reason(image))
        while ready:
            image = ready.pop()
            on = self._overlays.get(image.identity)
            if on is None or (below := self._below(on)) is None:
                continue
            owner = owners[image.identity]
            if image.identity in self._below_usable_volume:
                self._below_usable_volume.add(below.identity)
            owners[below.identity] = owner if owners.get(below.identity, owner) is owner else None
            waiting[below.identity] -= 1
            if not waiting[below.identity]:
                ready.append(below)
        return owners


def consolidate(images: Sequence[Image], directory_paths: Collection[str]) -> list[Image]:
    """The images, each file once with all its names, and read as its overlays record it.

    What an overlay records as raw is raw, whatever its name and its data look like.
    """
    merged: dict[str, Image] = {}
    for image in images:
        if first := merged.get(image.identity):
            image = replace(first, names=tuple(sorted({*first.names, *image.names})))
        merged[image.identity] = image
    overlays = (overlay(image, directory_paths) for image in merged.values())
    raw = {each.backing for each in overlays if each and each.format == "raw" and each.backing}
    return [image.as_raw() if raw.intersection(image.names) else image for image in merged.values()]


def _lock(image: Image, above: Sequence[Overlay]) -> str:
    """Who uses the image, or an overlay that would have to be changed, as a clause."""
    if image.locked:
        return "a process holds a lock on the file"
    holder = next((each.name for each in above if each.image.locked), None)
    return f"a process holds a lock on its overlay {holder!r}" if holder else ""
