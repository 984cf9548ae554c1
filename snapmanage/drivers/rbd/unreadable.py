"""Images that librbd can't open: the reasons, and their entries in a listing.

A listing has one entry for such an image, named like the image. The entry's identity starts with a word and a space,
so it differs from the identity of every snapshot.
"""

import errno
from collections.abc import Mapping
from typing import NamedTuple

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe

# Remedies by the error of the opening. Each of these errors is caused by the image, not by the cluster as a whole.
REMEDIES: Mapping[int, str] = {
    errno.EIO: "look for broken placement groups (ceph health detail), then restore or remove the image",
    errno.ENOSYS: "it has features that this librbd doesn't know: install a newer python3-rbd",
    errno.EOPNOTSUPP: "it has features that this librbd doesn't know: install a newer python3-rbd",
    **dict.fromkeys(
        (
            *(errno.EINVAL, errno.EROFS, errno.EBADMSG, errno.ENODATA, errno.EPROTO, errno.ERANGE, errno.EOVERFLOW),
            *(errno.EDOM, errno.EILSEQ, errno.EUCLEAN, errno.E2BIG, errno.EFAULT, errno.ESTALE),
        ),
        "inspect it with rbd info, then restore or remove it",
    ),
}
FINISH_MIGRATION = "run rbd migration commit or abort, then repeat the request"
NO_HEADER = "its header object rbd_header.{} is missing: restore the image, or remove it with rbd rm"
NO_HEADER_FORMAT_1 = "its header object is missing: restore the image, or remove it with rbd rm"
NO_PARENT = "the image exists, but an object that it needs is missing, such as its parent: inspect it with rbd info"


class ImageEntry(NamedTuple):
    """An entry of the pool's directory; `image_id` is empty for format 1, `raw_name` is the name as stored."""

    name: str
    image_id: str
    raw_name: bytes

    @property
    def open_arguments(self) -> Mapping[str, str | bytes]:
        """Return the arguments that open the image."""
        return {"image_id": self.image_id} if self.image_id else {"name": self.raw_name}

    def matches(self, name: str | None, image_id: str | None) -> bool:
        """Return whether the entry has that id or that name."""
        return (bool(image_id) and image_id == self.image_id) or (name is not None and name == self.name)


class ImageUnreadable(errors.Unusable):
    """One image can't be opened, though the cluster answers; `reason` is a clause."""

    def __init__(self, image: ImageEntry, cause: str, remedy: str) -> None:
        self.image = image
        self.reason = unreadable_reason(image, cause, remedy)
        super().__init__(f"{image.name!r} can't be used: {self.reason}")


def unreadable_reason(image: ImageEntry, cause: str, remedy: str) -> str:
    """Return the clause that a listing and an error show for an unreadable image."""
    return f"the image {image.name!r} can't be read ({cause}), so its snapshots are unknown; {remedy}"


def listing_entry(image: ImageEntry, reason: str) -> BackendSnapshot:
    """Return the listing's entry for an unreadable image."""
    return BackendSnapshot(
        name=image.name,
        identity=unreadable_identity(image.name, image.image_id),
        size_bytes=0,
        parent=image.name,
        parent_identity=image.image_id or None,
        unsafe=Unsafe.UNUSABLE,
        unsafe_reason=reason,
    )


def volume_entry(image: ImageEntry, reason: str) -> BackendVolume:
    """Return the entry of a list of volumes for an unreadable image."""
    identity = image.image_id or unreadable_identity(image.name, "")
    return BackendVolume(image.name, identity, 0, unsafe=Unsafe.UNUSABLE, unsafe_reason=reason)


def unreadable_identity(name: str, image_id: str) -> str:
    """Return the identity of an entry for an image that is unreadable or, without an id, has format 1."""
    return f"image {image_id}" if image_id else f"image-of-format-1 {name}"


def is_listing_entry(identity: str) -> bool:
    """Return whether the identity is that of the entry for an unreadable image."""
    return identity.startswith(("image ", "image-of-format-1 "))
