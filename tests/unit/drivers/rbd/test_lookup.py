"""Locating what an RBD pool holds where its images can't be read: none of that may count as gone."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from snapmanage import errors
from snapmanage.core.backend import BackendObject
from snapmanage.drivers.rbd import lookup
from snapmanage.drivers.rbd.image import OpenImage
from snapmanage.drivers.rbd.unreadable import ImageUnreadable, Listed


def unreadable(name: str | None = None, image_id: str | None = None) -> AbstractContextManager[OpenImage]:
    """Open an image of the id 1f that was renamed to `new` and can't be read; there is no other."""
    if name == "new" or image_id == "1f":
        raise ImageUnreadable(Listed("new", "1f", b"new"), "Input/output error", "restore it")
    raise errors.SourceNotFound("there is no such image")


def test_snapshots_of_a_renamed_image_that_cannot_be_read_are_there() -> None:
    with ThreadPoolExecutor(1) as readers:
        found = lookup.located(readers, unreadable, {"1f@5", "1f@6", "1f", "2f@7"}, {"old@snapshot-1"})

    assert set(found) == {
        BackendObject("new@(id 5)", "1f@5"),
        BackendObject("new@(id 6)", "1f@6"),
        BackendObject("new", "1f"),
    }
