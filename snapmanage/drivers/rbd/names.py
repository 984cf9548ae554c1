"""What names and ids of RBD images and snapshots may mean; nothing is asked of a cluster here.

Images and snapshots may be called almost anything, so that IMAGE@SNAPSHOT can be read in several ways
where there is more than one @ in it.
"""

import re
from typing import NamedTuple

from snapmanage import errors

_IDS = re.compile(r"(?:(?P<image>[0-9A-Za-z]+)@)?(?P<snapshot>[0-9]{1,20})", re.ASCII)


class Ids(NamedTuple):
    """The ids of an image and a snapshot of it; `image` is None where a reference leaves it out."""

    image: str | None
    snapshot: int

    @classmethod
    def parse(cls, text: str) -> "Ids":
        """Read IMAGE_ID@SNAPSHOT_ID or SNAPSHOT_ID; `InvalidReference` otherwise."""
        if match := _IDS.fullmatch(text):
            return cls(match["image"], int(match["snapshot"]))
        raise errors.InvalidReference(
            f"source-id {text!r} must be IMAGE_ID@SNAPSHOT_ID, as listings tell it, or SNAPSHOT_ID"
        )

    @staticmethod
    def are(text: str) -> bool:
        """Whether an identity is a snapshot's, rather than that of something which has no ids."""
        return _IDS.fullmatch(text) is not None

    def __str__(self) -> str:
        return f"{self.image}@{self.snapshot}"


class Reading(NamedTuple):
    image: str
    snapshot: str


def checked(name: str) -> str:
    """The name; `InvalidReference` where the bindings would take it for another, or crash."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise errors.InvalidReference(f"no image or snapshot can be called {name!r}: that is no UTF-8") from None
    if "\0" in name:
        raise errors.InvalidReference(f"no image or snapshot can be called {name!r}: there is a NUL in it")
    return name


def refusal(name: str) -> str | None:
    """Why a snapshot shouldn't be given that name, or None: `rbd` couldn't address it."""
    if not name or any(character in name for character in "@/\0"):
        return "it must have at least one letter, and no '@', '/' or NUL"
    return None


def readings(name: str, volume: str | None) -> list[Reading]:
    """What IMAGE@SNAPSHOT, or SNAPSHOT on a volume, may mean; what is of that volume comes first.

    A snapshot may have an empty name, and an image can't.
    """
    ats = [place for place, character in enumerate(name) if character == "@" and place]
    found = [Reading(name[:place], name[place + 1 :]) for place in ats]
    if volume:
        found.append(Reading(volume, name))
    return sorted(found, key=lambda reading: reading.image != volume)


def snapshot_part(name: str, image: str) -> str:
    """The snapshot in IMAGE@SNAPSHOT, where the image is known and may have been renamed since."""
    return name.removeprefix(f"{image}@") if name.startswith(f"{image}@") else name.partition("@")[2]
