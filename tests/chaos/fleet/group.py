"""Storage of the chaos tests: a volume group of thin snapshots, whose archive shows each change of their names.

lvm2 archives the group's metadata before each change, under the group's lock. Two successive states in which a logical
volume has different names show a rename that was done, even if the process that did it has ended.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from snapmanage.testing.services.lvm_metadata import MetadataGroup, metadata_group
from snapmanage.testing.services.process import unique
from tests.chaos.fleet.storage import VOLUME, Maker, Planted, Storage

EXTENTS_OF_A_GB = 256

_NUMBER = re.compile(r"^\tseqno = (\d+)$", re.MULTILINE)
_LOGICAL_VOLUME = re.compile(r'^\t\t(\S+) {\n\t\t\tid = "([^"]+)"$', re.MULTILINE)

# The name of each logical volume, by UUID.
State = Mapping[str, str]


class GroupStorage:
    """A backend of the driver `lvm`, see `Storage`.

    The test writes whole metadata, which would undo the rename of a server. So it makes a reserve of snapshots before
    any server starts; `plant` takes them from there.
    """

    def __init__(self, server: str, group: MetadataGroup, reserve: int) -> None:
        self.server = server
        self.planted: dict[str, Planted] = {}
        self._group = group
        self._reserve = [Planted(f"s{number:05}", 1 + number % 3) for number in range(reserve)]
        self._make()
        self._states: dict[int, State] = {}
        self._archived: set[Path] = set()

    @property
    def section(self) -> str:
        return f"driver = lvm\nvolume_group = {self._group.name}\nlvm_system_dir = {self._group.system_dir}\n"

    def plant(self, name: str, volume: str = VOLUME) -> str:
        """Take a snapshot from the reserve; the sizes alternate between 1, 2 and 3 GB."""
        assert volume == VOLUME
        [planted] = [each for each in self._reserve if each.name == name]
        self.planted[self._keys[name]] = planted
        return name

    def name_of(self, word: str) -> str:
        return word

    def key_of(self, name: str) -> str | None:
        return next((key for key, present in self._present().items() if present == name), None)

    def key_in(self, backend_id: str) -> str:
        return backend_id

    def renames(self) -> Counter[tuple[str, str]]:
        self._present()
        for archived in set(self._archive.iterdir()) - self._archived:
            self._note(archived.read_text())
            self._archived.add(archived)
        found = Counter[tuple[str, str]]()
        for (number, before), (following, after) in pairwise(sorted(self._states.items())):
            if following != number + 1:
                found["the archive", f"lacks the states between {number} and {following}"] += 1
            found.update((name, after[key]) for key, name in before.items() if after.get(key, name) != name)
        return found

    def deviations(self) -> list[str]:
        there = self._present()
        lost = [f"{self.server}: {name} is gone" for name, key in self._keys.items() if key not in there]
        known = {*self._keys.values(), *self._others}
        return lost + [f"{self.server}: {name} was not there" for key, name in there.items() if key not in known]

    @property
    def _archive(self) -> Path:
        return self._group.system_dir / "archive"

    def _make(self) -> None:
        self._group.add_pool()
        self._group.add_thin_volumes(VOLUME)
        self._others = set(_parsed(self._metadata())[1])
        for size_gb in {each.size_gb for each in self._reserve}:
            names = [each.name for each in self._reserve if each.size_gb == size_gb]
            self._group.add_thin_snapshots(VOLUME, *names, extents=size_gb * EXTENTS_OF_A_GB)
        self._keys = {name: key for key, name in _parsed(self._metadata())[1].items() if key not in self._others}
        self._archive.mkdir()
        self._group.configure(f'backup {{ archive=1 archive_dir="{self._archive}" }}')

    def _present(self) -> State:
        return self._note(self._metadata())

    def _note(self, metadata: str) -> State:
        number, state = _parsed(metadata)
        return self._states.setdefault(number, state)

    def _metadata(self) -> str:
        """Return the group's present metadata, which lvm2 reads under the group's lock."""
        backup = self._group.system_dir / "present"
        self._group.lvm("vgcfgbackup", "--file", str(backup), self._group.name)
        return backup.read_text()


def _parsed(metadata: str) -> tuple[int, State]:
    """Return the number of a state, which each change increases by one, and the state."""
    [number] = _NUMBER.findall(metadata)
    volumes = metadata.partition("logical_volumes {")[2]
    return int(number), {key: name for name, key in _LOGICAL_VOLUME.findall(volumes)}


def group_storage(reserve: int) -> Maker:
    """Return a maker of storages with so many snapshots for tests to plant."""

    @contextmanager
    def make(server: str, folder: Path) -> Iterator[Storage]:
        folder.mkdir(parents=True)
        with metadata_group(folder, unique("vg")) as group:
            yield GroupStorage(server, group, reserve)

    return make
