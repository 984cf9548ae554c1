"""Answers to requests that name a volume or a snapshot; one scan of a locked directory serves many of them."""

from dataclasses import dataclass
from typing import TypeVar

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.qcow2.chains import Chains
from snapmanage.drivers.qcow2.directory import TOO_MANY_INTERNAL, Directory
from snapmanage.drivers.qcow2.format import InternalSnapshot
from snapmanage.drivers.qcow2.image import Image
from snapmanage.drivers.system import files

_NOT_AN_IMAGE = (
    "is not an image: give a regular file whose name matches image_patterns, or one that an image records as its "
    "backing file"
)


T = TypeVar("T")


@dataclass(frozen=True)
class ImageName:
    """The name of an object in a request: `FILE`, or `FILE/ID` for an internal snapshot; then `id` isn't None."""

    file: str
    id: str | None

    @classmethod
    def of(cls, reference: Reference) -> "ImageName":
        """Return the name in a reference; raise `InvalidReference`."""
        file, slash, id = reference.name().partition("/")
        if not files.is_valid_name(file):
            raise errors.InvalidReference(
                f"{file!r} can't be the name of an image: give FILE, or FILE/ID for a snapshot inside an image; "
                "FILE has no NUL and doesn't begin with a dot"
            )
        return cls(file, id if slash else None)


@dataclass(frozen=True)
class Lookup:
    """The images of one scan of a directory."""

    directory: Directory
    chains: Chains

    def snapshot(self, name: ImageName, volume: str | None) -> BackendSnapshot:
        """Return the snapshot of a name, as `Driver.find_snapshot` requires."""
        image = self._image(name.file)
        if image is None:
            raise errors.NotASnapshot(f"{name.file!r} {_NOT_AN_IMAGE}")
        if name.id is not None:
            chains, image = self._with_internal(image)
            found = chains.internal(image, name.file, _internal_snapshot(image, name.file, name.id))
        elif self.chains.overlays_of(image):
            found = self.chains.external(image, name.file)
        else:
            raise errors.NotASnapshot(f"{name.file!r} is not a snapshot: no image has it as its backing file")
        return found if found.parent or volume is None else self.chains.for_volume(volume, found, image)

    def volume(self, name: ImageName) -> BackendVolume:
        """Return the volume of a name, as `Driver.find_volume` requires."""
        file, image = name.file, self._image(name.file)
        if image is None:
            raise errors.NotAVolume(f"{file!r} {_NOT_AN_IMAGE}")
        if name.id is not None:
            raise errors.NotAVolume(
                f"{f'{file}/{name.id}'!r} is a snapshot inside {file!r}: name the image as the volume"
            )
        if overlays := self.chains.overlays_of(image):
            raise errors.NotAVolume(
                f"{file!r} is the backing file of {overlays[0].name!r}, so it is a snapshot: name the image on top of "
                "the chain as the volume"
            )
        if reason := self.chains.unusable_reason(image):
            raise errors.NotAVolume(f"{file!r} can't be used as a volume: {reason}")
        return self.chains.volume(image, file)

    def internal(self, binding: Binding) -> BackendSnapshot:
        """Return the internal snapshot of a binding, whatever name its file has now; raise `SourceNotFound`."""
        file_identity, _, mark = binding.identity.partition("/")
        if image := self.chains.image_with_identity(file_identity):
            chains, image = self._with_internal(image)
            for each in image.header.internal_snapshots if image.header else ():
                if each.mark == mark:
                    return chains.internal(image, image.names[0], each)
        raise errors.SourceNotFound(
            f"{binding.original_name!r} is gone, or is another snapshot now: list the snapshots again"
        )

    def object(self, name: str) -> BackendSnapshot | None:
        """Describe the object named `FILE` or `FILE/ID`, even if it is no snapshot; None if there is none."""
        file, slash, id = name.partition("/")
        image = self.chains.image(file)
        if slash:
            snapshots = image.header.internal_snapshots if image and image.header else ()
            found = (self.chains.internal(image, file, each) for each in snapshots if image and each.id == id)
            return next(found, None)
        if image is None and (read := self.directory.read_image(file)):
            # No overlay records the file any more, so its format is unknown.
            image = read.as_raw()
        return self.chains.external(image, file) if image else None

    def _image(self, file: str) -> Image | None:
        """Return the image of this name; raise `SourceNotFound` if there is no such file."""
        image = self.chains.image(file)
        if image is None and self.directory.identity(file) is None:
            raise errors.SourceNotFound(f"there is no file {file!r} in the directory {self.directory.path!r}")
        return image

    def _with_internal(self, image: Image) -> tuple[Chains, Image]:
        """Return the image with its internal snapshots, which the scan may have left out."""
        if image.header is None or image.header.internal_error != TOO_MANY_INTERNAL:
            return self.chains, image
        chains = self.directory.scan(image.identity)
        return chains, chains.image_with_identity(image.identity) or image


def _internal_snapshot(image: Image, file: str, id: str) -> InternalSnapshot:
    if image.header is None or image.header.internal_error:
        reason = image.header.internal_error if image.header else image.error or "it is raw"
        raise errors.NotASnapshot(f"the snapshots inside {file!r} can't be read: {reason}")
    for snapshot in image.header.internal_snapshots:
        if snapshot.id == id:
            return snapshot
    raise errors.SourceNotFound(f"{file!r} has no snapshot with the ID {id!r}: qemu-img snapshot -l {file} lists them")
