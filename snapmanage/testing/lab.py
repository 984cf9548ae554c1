"""Protocols of a laboratory: a backend under test, with methods for the actions of an operator.

Every laboratory starts with one volume and no snapshot, and has a driver that is configured for it. `Lab` is required.
Each other protocol adds a capability. A laboratory has a capability if its class has an attribute of that name that is
neither None nor False; a test that needs another capability doesn't run.
"""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from snapmanage.drivers.protocol import Driver

__all__ = [
    "CAPABILITIES",
    "REQUIRED",
    "HoldingLab",
    "Lab",
    "LargeLab",
    "ListingLab",
    "OddLab",
    "OrphaningLab",
    "SpoilingLab",
    "has",
]

REQUIRED = (
    *("name_of", "add_volume", "add_snapshot", "remove", "names", "go_away", "come_back"),
    *("reports_storage_id", "reports_creation_time"),
)
"""The members of `Lab` that must be on the class; the constructor may set the others."""

CAPABILITIES = ("reports_storage_id", "reports_creation_time", "lists_volumes", "held", "add_unusable", "add_many")
"""The capabilities that the contract suite knows."""


class Lab(Protocol):
    """A backend under test. Names are complete names, as the driver reports them."""

    volume: str
    """Name of the volume that the laboratory starts with."""
    size_bytes: int
    """Size of that volume and of each of its snapshots."""

    @property
    def reports_storage_id(self) -> bool:
        """Return whether the driver's `storage_id` returns an id; declare it on the class."""

    @property
    def reports_creation_time(self) -> bool:
        """Return whether the backend reports when a snapshot was made; declare it on the class."""

    @property
    def driver(self) -> Driver:
        """Return the driver under test, configured for this backend."""

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

    def remove(self, name: str) -> None:
        """Remove a snapshot. The backend never gives its identity to another object."""

    def names(self) -> set[str]:
        """Return the names of the snapshots on the backend, read without the driver."""

    def go_away(self) -> None:
        """Make the backend unreachable."""

    def come_back(self) -> None:
        """Make the backend reachable again, with unchanged content."""


class ListingLab(Lab, Protocol):
    """A laboratory whose driver has `list_volumes`."""

    @property
    def lists_volumes(self) -> bool:
        """Return whether the driver has `list_volumes`; declare it on the class."""


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
    * `odd_names()`: every name on the backend that may belong to a snapshot, if `names()` doesn't return them all.
    * `volumes`: names of volumes for snapshots that are listed without a parent.
    """

    def add_oddities(self) -> None:
        """Add snapshots that can be managed, snapshots that can't be, and objects that look like snapshots."""


class OrphaningLab(OddLab, Protocol):
    """A laboratory where an object, such as the volume, makes another one a snapshot and can be removed."""

    def orphan(self, name: str) -> None:
        """Remove the object that makes this one a snapshot; keep all other snapshots."""


class LargeLab(Lab, Protocol):
    """A laboratory that can make thousands of snapshots quickly."""

    @property
    def scan(self) -> tuple[Any, str] | None:
        """Return owner and name of the function that reads the whole backend; None if its calls can't be counted."""

    def add_many(self, count: int) -> None:
        """Make `count` snapshots of the volume."""


def has(kind: type[Any], capability: str) -> bool:
    """Return whether a class of laboratories has a capability: a method such as `held`, or a constant."""
    return getattr(kind, capability, None) not in (None, False)
