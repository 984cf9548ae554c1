"""Locating the objects of an RBD pool: an image that can't be read doesn't count as gone."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from snapmanage import errors
from snapmanage.core.backend import BackendObject
from snapmanage.drivers.rbd import lookup
from snapmanage.drivers.rbd.image import OpenImage
from snapmanage.drivers.rbd.names import readings
from snapmanage.drivers.rbd.unreadable import ImageEntry, ImageUnreadable


def unreadable(name: str | None = None, image_id: str | None = None) -> AbstractContextManager[OpenImage]:
    """Fail to open the pool's only image: its id is 1f, it was renamed to `new`, and it can't be read."""
    if name == "new" or image_id == "1f":
        raise ImageUnreadable(ImageEntry("new", "1f", b"new"), "Input/output error", "restore it")
    raise errors.SourceNotFound("there is no such image")


def test_snapshots_of_an_unreadable_renamed_image_are_located_by_their_ids() -> None:
    with ThreadPoolExecutor(1) as readers:
        found = lookup.locate(
            readers, unreadable, lambda name: readings(name, None), {"1f@5", "1f@6", "1f", "2f@7"}, {"old@snapshot-1"}
        )

    assert set(found) == {
        BackendObject("new@(id 5)", "1f@5"),
        BackendObject("new@(id 6)", "1f@6"),
        BackendObject("new", "1f"),
    }
