"""Protocols of a laboratory: a backend under test, with methods for the actions of an operator.

Every laboratory starts with one volume and no snapshot, and has a driver that is configured for it.
"""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from snapmanage.drivers.protocol import Driver


class Lab(Protocol):
    """A backend under test. Names are complete names, as the driver reports them."""

    volume: str
    size_bytes: int

    @property
    def driver(self) -> Driver: ...

    @property
    def impossible_names(self) -> tuple[str, ...]:
        """Return names that a caller may send but that no object of the backend can have."""

    @property
    def legal_characters(self) -> str:
        """Return the characters allowed after the first letter of a snapshot's name; one name has room for all."""

    def name_of(self, word: str) -> str:
        """Return a name, made of the word, that a snapshot of the volume may have."""

    def add_volume(self, word: str) -> str:
        """Make another volume and return its name."""

    def add_snapshot(self, name: str) -> None:
        """Make a snapshot of the volume."""

    def remove(self, name: str) -> None: ...

    def names(self) -> set[str]:
        """Return the names of the snapshots on the backend, read without the driver."""

    def go_away(self) -> None:
        """Make the backend unreachable."""

    def come_back(self) -> None:
        """Make the backend reachable again, with unchanged content."""


class HoldingLab(Lab, Protocol):
    """A laboratory that can open a snapshot as its users do, so that the driver refuses it."""

    def held(self, name: str) -> AbstractContextManager[None]:
        """Keep the snapshot in use inside the context."""


class SpoilingLab(Lab, Protocol):
    """A laboratory with unusable snapshots: overflowed, merging, or part of another object."""

    def add_unusable(self, word: str) -> str:
        """Make an unusable snapshot of the volume and return its name."""


class OddLab(Lab, Protocol):
    """A laboratory with every odd kind of object that an operator may have on such a backend.

    Optional members:

    * `unlisted`: names of objects that the driver manages by name but doesn't list, as its docs say.
    * `orphan(name)`: remove the object that makes this one a snapshot, such as its volume; keep all other snapshots.
    * `odd_names()`: every name on the backend that may belong to a snapshot, if `names()` doesn't return them all.
    * `volumes`: names of volumes for snapshots that are listed without a parent.
    """

    def add_oddities(self) -> None:
        """Add snapshots that can be managed, snapshots that can't be, and objects that look like snapshots."""


class LargeLab(Lab, Protocol):
    """A laboratory that can make thousands of snapshots quickly."""

    @property
    def scan(self) -> tuple[Any, str] | None:
        """Return owner and name of the function that reads the whole backend; None if its calls can't be counted."""

    def add_many(self, count: int) -> None:
        """Make `count` snapshots of the volume."""
