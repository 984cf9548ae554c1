"""Images that librbd can't open: why, and how a listing reports them.

The listing has one entry for such an image, named like the image itself. Its identity starts with a word and a
space, which no identity of a snapshot does.
"""

import errno
from collections.abc import Mapping
from typing import NamedTuple

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Unsafe

# What to do, by the error at opening an image. These errors come from the image, not from the cluster as a whole.
REMEDIES: Mapping[int, str] = {
    errno.EIO: "look for broken placement groups (ceph health detail), then restore or remove the image",
    errno.ENOSYS: "it has features that this librbd doesn't know: install a newer python3-rbd",
    errno.EOPNOTSUPP: "it has features that this librbd doesn't know: install a newer python3-rbd",
    **dict.fromkeys(
        (
            *(errno.EINVAL, errno.EROFS, errno.EBADMSG, errno.ENODATA, errno.EPROTO, errno.ERANGE, errno.EOVERFLOW),
            *(errno.EDOM, errno.EILSEQ, errno.EUCLEAN, errno.E2BIG, errno.EFAULT, errno.ESTALE),
        ),
        "look at it with rbd info, then restore or remove it",
    ),
}
NO_HEADER = "its header object rbd_header.{} is missing: restore the image, or remove it with rbd rm"
NO_HEADER_1 = "its header object is missing: restore the image, or remove it with rbd rm"
NO_PARENT = "it is there, but an object that it needs is missing, such as its parent: look at it with rbd info"


class Listed(NamedTuple):
    """An image in the pool's directory; the id is empty for format 1, `raw` is the name as the cluster has it."""

    name: str
    image_id: str
    raw: bytes

    @property
    def handle(self) -> Mapping[str, str | bytes]:
        """Arguments that open the image."""
        return {"image_id": self.image_id} if self.image_id else {"name": self.raw}

    def bears(self, name: str | None, image_id: str | None) -> bool:
        return (bool(image_id) and image_id == self.image_id) or (name is not None and name == self.name)


def is_image(identity: str) -> bool:
    """Whether an identity is that of the entry of an image."""
    return identity.startswith(("image ", "image-of-format-1 "))


class ImageUnreadable(errors.Unusable):
    """One image can't be opened, though the cluster answers; `listed` is the image, `reason` a clause."""

    def __init__(self, listed: Listed, cause: str, remedy: str) -> None:
        self.listed = listed
        self.reason = reason(listed, cause, remedy)
        super().__init__(f"{listed.name!r} can't be used: {self.reason}")


def reason(listed: Listed, cause: str, remedy: str) -> str:
    return f"the image {listed.name!r} can't be read ({cause}), so its snapshots are not known; {remedy}"


def entry(listed: Listed, why: str) -> BackendSnapshot:
    """Return the listing's entry for an image that can't be read."""
    return BackendSnapshot(
        name=listed.name,
        identity=f"image {listed.image_id}" if listed.image_id else f"image-of-format-1 {listed.name}",
        size_bytes=0,
        parent=listed.name,
        parent_identity=listed.image_id or None,
        unsafe=Unsafe.UNUSABLE,
        unsafe_reason=why,
    )
