"""Reasons why no snapshot of a readable image can be renamed or protected.

Listings and manage requests share these reasons, so that a manage request accepts every snapshot that a listing
reports as safe. Only images with journals cost further calls to the cluster.
"""

from collections.abc import Iterator
from typing import Any

from snapmanage.drivers.rbd.names import is_image_id
from snapmanage.drivers.rbd.protection import LAYERING
from snapmanage.drivers.system.ceph_bindings import Bindings

_FORMAT_1 = "its image has format 1, which has no stable ids: convert it to format 2 (rbd migration prepare)"
_STRANGE_ID = "its image has an id that RBD gives to none: copy the image (rbd deep cp), and remove this one"
_MIGRATING = "its image is being migrated, and an abort would undo the rename: run rbd migration commit or abort"
_NOT_PRIMARY = (
    "its image is a mirror that isn't primary, so it is read-only: manage the snapshot in the primary cluster, or "
    "promote the image (rbd mirror image promote)"
)
_NO_JOURNAL = "its image's journal is missing, so it is read-only: disable and enable the feature journaling"
_UNPROTECTABLE = "its image lacks the feature layering, so it can't be protected: turn rbd_protect off to manage it"


def refusals(image: Any, ioctx: Any, bindings: Bindings, protect: bool) -> Iterator[str]:
    """Yield the reasons against managing snapshots of the open image, as clauses.

    `protect` is true if managed snapshots are protected.
    """
    rbd, features = bindings.rbd, image.features()
    if image.old_format():
        yield _FORMAT_1
    elif not is_image_id(image.id()):
        yield _STRANGE_ID
    if features & rbd.RBD_FEATURE_MIGRATING:  # the migration began while the image was opened
        yield _MIGRATING
    if features & rbd.RBD_FEATURE_NON_PRIMARY:
        yield _NOT_PRIMARY
    # An image with features of a newer librbd is read-only for this one.
    operations = sum(getattr(rbd, name) for name in dir(rbd) if name.startswith("RBD_OPERATION_FEATURE_"))
    if unknown := features & ~rbd.RBD_FEATURES_ALL or image.op_features() & ~operations:
        yield f"its image has features that this librbd doesn't know ({unknown:#x}): install a newer python3-rbd"
    if features & rbd.RBD_FEATURE_JOURNALING:
        yield from _journal_refusals(image, ioctx, bindings)
    if protect and not features & LAYERING:
        yield _UNPROTECTABLE


def _journal_refusals(image: Any, ioctx: Any, bindings: Bindings) -> Iterator[str]:
    try:
        ioctx.stat(f"journal.{image.id()}")
    except bindings.rados.ObjectNotFound:
        yield _NO_JOURNAL
        return
    mirrored = image.mirror_image_get_info()
    if mirrored["state"] != bindings.rbd.RBD_MIRROR_IMAGE_DISABLED and not mirrored["primary"]:
        yield _NOT_PRIMARY
