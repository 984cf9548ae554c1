"""The names and ids of RBD images and snapshots: parsing, checks, and possible readings; nothing calls a cluster.

RBD allows almost any character in a name. A name with several @ therefore has several readings as IMAGE@SNAPSHOT.
"""

import re
from collections.abc import Callable, Collection
from typing import NamedTuple

from snapmanage import errors

# More readings than these cost more than a list of the pool's images.
MOST_READINGS = 8

_IMAGE_ID = "[0-9A-Za-z]+"
_IDS = re.compile(rf"(?:(?P<image>{_IMAGE_ID})@)?(?P<snapshot>[0-9]{{1,20}})", re.ASCII)


class SnapshotIds(NamedTuple):
    """The ids of an image and of its snapshot; `image` is None where a reference omits it."""

    image: str | None
    snapshot: int

    @classmethod
    def parse(cls, text: str) -> "SnapshotIds":
        """Parse IMAGE_ID@SNAPSHOT_ID or SNAPSHOT_ID; raise `InvalidReference` for any other form."""
        if match := _IDS.fullmatch(text):
            return cls(match["image"], int(match["snapshot"]))
        raise errors.InvalidReference(
            f"source-id {text!r} is invalid: use IMAGE_ID@SNAPSHOT_ID, as in listings, or SNAPSHOT_ID"
        )

    @staticmethod
    def matches(identity: str) -> bool:
        """Return whether the identity is that of a snapshot; the identity of an unreadable image has another form."""
        return _IDS.fullmatch(identity) is not None

    def __str__(self) -> str:
        return f"{self.image}@{self.snapshot}"


def is_image_id(text: str) -> bool:
    """Return whether RBD can give this id to an image; other ids can only be written into the pool's objects."""
    return re.fullmatch(_IMAGE_ID, text, re.ASCII) is not None


class Reading(NamedTuple):
    """One way to split a name into the image and the snapshot."""

    image: str
    snapshot: str


def check_name(name: str) -> str:
    """Return the name; raise `InvalidReference` where the bindings would crash or open another object."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise errors.InvalidReference(
            f"{name!r} can't be an RBD name: it isn't valid UTF-8; correct the name"
        ) from None
    if "\0" in name:
        raise errors.InvalidReference(f"{name!r} can't be an RBD name: it has a NUL character; remove that character")
    return name


def name_refusal(name: str) -> str | None:
    """Return, as a clause, why the command `rbd` couldn't address a snapshot of this name; None where it could."""
    if not name or any(character in name for character in "@/\0"):
        return "it must have at least one character, and no '@', '/' or NUL"
    return None


def readings(name: str, volume: str | None) -> list[Reading]:
    """Return each reading of IMAGE@SNAPSHOT, or of SNAPSHOT on the volume; readings on that volume are first.

    The name of a snapshot can be empty, that of an image can't.
    """
    separators = [index for index, character in enumerate(name) if character == "@" and index]
    found = [Reading(name[:index], name[index + 1 :]) for index in separators]
    if volume:
        found.append(Reading(volume, name))
    return sorted(found, key=lambda reading: reading.image != volume)


def few_readings(name: str, volume: str | None, images: Callable[[], Collection[str]]) -> list[Reading]:
    """Return the readings of a name; of more than `MOST_READINGS`, only those with one of the pool's `images`.

    A look-up opens an image for each reading, and a caller can choose a name with thousands of `@`.
    """
    found = readings(name, volume)
    if len(found) <= MOST_READINGS:
        return found
    present = images()
    return [reading for reading in found if reading.image in present]


def snapshot_part(name: str, image: str) -> str:
    """Return SNAPSHOT of IMAGE@SNAPSHOT; `image` is the current name of the image, and `name` may have an older one."""
    return name.removeprefix(f"{image}@") if name.startswith(f"{image}@") else name.partition("@")[2]
