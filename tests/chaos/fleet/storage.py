"""The storage of a server as the chaos tests see it from outside, whichever driver serves it."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

VOLUME = "disk"


@dataclass(frozen=True)
class Planted:
    """A snapshot as the test created it."""

    name: str
    size_gb: int


class Storage(Protocol):
    """A backend with the volume `VOLUME`; `server` owns it.

    A key is the part of an object's identity that can be known from outside: a file's inode, a logical volume's UUID.
    """

    server: str

    @property
    def section(self) -> str:
        """The lines of the backend's section in the configuration."""

    @property
    def planted(self) -> Mapping[str, Planted]:
        """The snapshots that the test created, by key."""

    def plant(self, name: str, volume: str = VOLUME) -> str:
        """Create a snapshot that has no record, and return the name by which it can be managed."""

    def name_of(self, word: str) -> str:
        """Return the name by which a snapshot of `VOLUME` would be managed."""

    def key_of(self, name: str) -> str | None:
        """Return the key of the object with a name; None if there is none."""

    def key_in(self, backend_id: str) -> str:
        """Return the key in the identity of a record."""

    def renames(self) -> Counter[tuple[str, str]]:
        """Return how often each rename, a pair of old and new name, was done."""

    def deviations(self) -> list[str]:
        """Return a sentence for each snapshot that is missing, unexpected or changed."""


# Makes the storage of a server, in a folder that doesn't exist yet, and removes what it needs afterwards.
Maker = Callable[[str, Path], AbstractContextManager[Storage]]
