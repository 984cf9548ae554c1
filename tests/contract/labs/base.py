"""What a laboratory is: a backend under test, where a test does what operators do.

Every laboratory begins with one volume and no snapshot, and has a driver configured for it.
"""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from snapmanage.drivers.protocol import Driver


class Lab(Protocol):
    """A backend under test. Names are whole names, as the driver tells them."""

    volume: str
    size_bytes: int

    @property
    def driver(self) -> Driver: ...

    @property
    def impossible_names(self) -> tuple[str, ...]:
        """Names that a caller may send, and the backend can't have."""

    @property
    def legal_characters(self) -> str:
        """What a snapshot's name may have behind its first letter; one name has room for all of it."""

    def name_of(self, word: str) -> str:
        """A name that a snapshot of the volume may have on this backend."""

    def add_volume(self, word: str) -> str:
        """Make one more volume; the name it got."""

    def add_snapshot(self, name: str) -> None:
        """Make a snapshot of the volume."""

    def remove(self, name: str) -> None: ...

    def names(self) -> set[str]:
        """The snapshots on the backend, asked without the driver."""

    def go_away(self) -> None:
        """Make the backend unreachable."""

    def come_back(self) -> None:
        """Make it reachable again; nothing on it has changed."""


class HoldingLab(Lab, Protocol):
    """A laboratory that can open a snapshot as its users do, which the driver then refuses."""

    def held(self, name: str) -> AbstractContextManager[None]:
        """Hold the snapshot in use."""


class SpoilingLab(Lab, Protocol):
    """A laboratory that has snapshots which nobody can use: overflowed, merging, or a part of something else."""

    def add_unusable(self, word: str) -> str:
        """Make such a snapshot of the volume; the name it got."""


class OddLab(Lab, Protocol):
    """A laboratory with every odd shape of an object that an operator may have on such a backend.

    It may have more. `unlisted`: names of what the driver takes for a safe snapshot when it is named and doesn't list,
    as its docs say. `orphan(name)`: take away what makes the driver call the object a snapshot, such as its volume, and
    leave the object and all other snapshots there. `odd_names()`: every name on the backend that may be a snapshot's,
    where `names()` is too strict for that. `volumes`: names of volumes for snapshots that are listed without one.
    """

    def add_oddities(self) -> None:
        """Add snapshots that can be managed, snapshots that can't be, and objects that look like snapshots."""


class LargeLab(Lab, Protocol):
    """A laboratory where thousands of snapshots cost nothing."""

    @property
    def scan(self) -> tuple[Any, str] | None:
        """Owner and name of the function that reads the whole backend once; None where it can't be counted."""

    def add_many(self, count: int) -> None:
        """Make so many snapshots of the volume."""
