"""The protocols of laboratories. A laboratory is a backend under test, where a test acts as an operator.

Every laboratory begins with one volume and no snapshot, and has a configured driver.
"""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from snapmanage.drivers.protocol import Driver


class Lab(Protocol):
    """A backend under test. Names are whole names, as the driver returns them."""

    volume: str
    size_bytes: int

    @property
    def driver(self) -> Driver: ...

    @property
    def impossible_names(self) -> tuple[str, ...]:
        """Names that a caller may send, but the backend can't have."""

    @property
    def legal_characters(self) -> str:
        """Characters that a snapshot's name may have after its first letter; one name has room for all of them."""

    def name_of(self, word: str) -> str:
        """Return a name that a snapshot of the volume may have on this backend."""

    def add_volume(self, word: str) -> str:
        """Make one more volume and return its name."""

    def add_snapshot(self, name: str) -> None:
        """Make a snapshot of the volume."""

    def remove(self, name: str) -> None: ...

    def names(self) -> set[str]:
        """Return the snapshots on the backend, without the driver."""

    def go_away(self) -> None:
        """Make the backend unreachable."""

    def come_back(self) -> None:
        """Make the backend reachable again, unchanged."""


class HoldingLab(Lab, Protocol):
    """A laboratory that can open a snapshot as its users do; the driver then refuses the snapshot."""

    def held(self, name: str) -> AbstractContextManager[None]:
        """Keep the snapshot in use."""


class SpoilingLab(Lab, Protocol):
    """A laboratory with unusable snapshots: overflowed, merging, or a part of another object."""

    def add_unusable(self, word: str) -> str:
        """Make an unusable snapshot of the volume and return its name."""


class OddLab(Lab, Protocol):
    """A laboratory with every odd shape of an object that an operator may have on such a backend.

    Optional attributes:

    * `unlisted`: names of safe snapshots that the driver finds by name but doesn't list, as its docs describe.
    * `orphan(name)`: remove the sign by which the driver recognizes a snapshot, such as its volume. Leave the object
      itself and all other snapshots there.
    * `odd_names()`: every name on the backend that may be a snapshot's, where `names()` is too strict for that.
    * `volumes`: names of volumes for snapshots that are listed without one.
    """

    def add_oddities(self) -> None:
        """Add snapshots that can be managed, snapshots that can't be, and objects that look like snapshots."""


class LargeLab(Lab, Protocol):
    """A laboratory that can make thousands of snapshots quickly."""

    @property
    def scan(self) -> tuple[Any, str] | None:
        """Owner and name of the function that reads the whole backend once; None where its calls can't be counted."""

    def add_many(self, count: int) -> None:
        """Make this number of snapshots of the volume."""
