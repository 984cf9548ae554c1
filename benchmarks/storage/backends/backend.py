"""What the benchmark requires of a backend."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from snapmanage.drivers.protocol import Section

Rename = Callable[[str, str], None]


@dataclass(frozen=True)
class Vendor:
    """Cinder's own driver for the backend: its class, its section, and variables of its environment."""

    driver: str
    section: Section
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Backend:
    """A backend with snapshots.

    `section` has the lines of the configuration, `snapshots` the names of the snapshots by the name of their volume.
    `renaming` gives the backend's own rename, which checks nothing; `renamed` makes a free name of a snapshot's name.
    `path` is a folder with the commands of the backend, for the front of the PATH.
    """

    section: str
    snapshots: Mapping[str, Sequence[str]]
    renaming: Callable[[], AbstractContextManager[Rename]]
    renamed: Callable[[str], str]
    path: str = ""
    vendor: Vendor | None = None

    @property
    def names(self) -> list[str]:
        return [name for names in self.snapshots.values() for name in names]


# Make a backend with this number of snapshots; the folder is empty, and on the disk.
Maker = Callable[[Path, int], AbstractContextManager[Backend]]


def alone(rename: Rename) -> Callable[[], AbstractContextManager[Rename]]:
    """Return the `renaming` of a backend that keeps nothing open between two renames."""
    return lambda: nullcontext(rename)


def serial_names(count: int, form: str = "before-{:05}") -> list[str]:
    return [form.format(number) for number in range(count)]


def behind(separator: str) -> Callable[[str], str]:
    """Return the `renamed` of names whose last part follows a separator."""

    def renamed(name: str) -> str:
        place, found, last = name.rpartition(separator)
        return f"{place}{found}raw-{last}"

    return renamed
