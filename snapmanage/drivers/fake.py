"""A backend that is a dictionary, with a driver's manners: for trials, tests and benchmarks.

It forgets everything when its process ends. Tests put volumes and snapshots into it, and give it a
`hook`, which is called with the name of every step before it is taken: what the hook raises, the
step raises; while the hook waits, the step hangs.

**Late renames.** Renames go by name and only to a name that is free, so what `snapmanage.drivers.renaming` says
of them holds here, as long as the process lives. Nothing is ever removed but by a test.
"""

import itertools
import threading
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import GIB, BackendObject, BackendSnapshot, BackendVolume, Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


def _go_on(step: str) -> None:
    """The hook of a backend that is well."""


def _unreachable(step: str) -> None:
    raise errors.BackendUnavailable(f"the fake backend is away, at the step {step!r}")


class FakeDriver:
    """Volumes and snapshots in memory.

    The steps that `hook` hears of are `check`, `storage_id`, `list`, `find`, `locate`, `look`, `rename` and `renamed`
    (it is done, but the driver hasn't answered yet).
    """

    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.IntOpt(
            "fake_volumes",
            default=1,
            min=0,
            help="Volumes to begin with, called volume-1, volume-2 and so on. More make a larger backend "
            "for trials and benchmarks; 0 gives an empty one.",
        ),
        cfg.IntOpt(
            "fake_snapshots",
            default=3,
            min=0,
            help="Snapshots to begin with on each volume, called volume-1-snapshot-1 and so on. More make "
            "listings longer; 0 leaves nothing to manage.",
        ),
    ]

    def __init__(self, fake_volumes: int = 1, fake_snapshots: int = 3) -> None:
        self.hook: Callable[[str], None] = _go_on
        self._lock = threading.Lock()
        self._id = uuid.uuid4()
        self._serial = itertools.count(1)
        self._volumes: dict[str, BackendVolume] = {}
        self._snapshots: dict[str, BackendSnapshot] = {}
        for number in range(1, fake_volumes + 1):
            volume = f"volume-{number}"
            self.add_volume(volume)
            for snapshot in range(1, fake_snapshots + 1):
                self.add_snapshot(volume, f"{volume}-snapshot-{snapshot}")

    # What a test may do to the backend.

    def add_volume(self, name: str, size_bytes: int = GIB) -> BackendVolume:
        with self._lock:
            self._volumes[name] = BackendVolume(name, f"fake-{next(self._serial)}", size_bytes)
            return self._volumes[name]

    def add_snapshot(self, volume: str, name: str) -> BackendSnapshot:
        """Add a snapshot of a volume that is there; what had the name before is replaced."""
        with self._lock:
            parent = self._volumes[volume]
            serial = next(self._serial)
            created_at = EPOCH + timedelta(seconds=serial)
            made = BackendSnapshot(name, f"fake-{serial}", parent.size_bytes, volume, parent.identity, created_at)
            self._snapshots[name] = made
            return made

    def mark(self, name: str, unsafe: Unsafe | None, reason: str = "a test says so") -> None:
        """Make a snapshot unsafe to manage, or safe again with None."""
        with self._lock:
            self._snapshots[name] = replace(
                self._snapshots[name], unsafe=unsafe, unsafe_reason=reason if unsafe else ""
            )

    def remove(self, name: str) -> None:
        """Remove a volume or a snapshot behind snapmanage's back; a volume's snapshots lose their parent."""
        with self._lock:
            self._snapshots.pop(name, None)
            if self._volumes.pop(name, None) is None:
                return
            for snapshot in self._snapshots.values():
                if snapshot.parent == name:
                    self._snapshots[snapshot.name] = replace(snapshot, parent=None, parent_identity=None)

    def go_away(self) -> None:
        """Let every step fail from now on, as a backend does that can't be reached."""
        self.hook = _unreachable

    def come_back(self) -> None:
        """Take away what hooked the steps."""
        self.hook = _go_on

    # The driver.

    def check(self) -> None:
        self.hook("check")

    def storage_id(self) -> str | None:
        self.hook("storage_id")
        return f"fake:{self._id}"

    def list_snapshots(self) -> list[BackendSnapshot]:
        self.hook("list")
        with self._lock:
            return list(self._snapshots.values())

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        self.hook("find")
        name = reference.name()
        with self._lock:
            if name in self._volumes:
                raise errors.NotASnapshot(f"{name!r} is a volume; name one of its snapshots")
            if name not in self._snapshots:
                raise errors.SourceNotFound(f"the fake backend has no snapshot called {name!r}")
            return self._snapshots[name]

    def find_volume(self, reference: Reference) -> BackendVolume:
        self.hook("find")
        name = reference.name()
        with self._lock:
            if name in self._snapshots:
                raise errors.NotAVolume(f"{name!r} is a snapshot; name the volume it was taken of")
            if name not in self._volumes:
                raise errors.SourceNotFound(f"the fake backend has no volume called {name!r}")
            return self._volumes[name]

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        self.hook("locate")
        with self._lock:
            every = [BackendObject(each.name, each.identity) for each in self._volumes.values()]
            every += [BackendObject(each.name, each.identity) for each in self._snapshots.values()]
        return [each for each in every if each.identity in identities or each.name in names]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        return name

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        return renaming.manage(self, binding)

    def unmanage_snapshot(self, binding: Binding) -> None:
        renaming.unmanage(self, binding)

    # What renaming asks for.

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        self.hook("look")
        with self._lock:
            return {name: self._snapshots[name] for name in names if name in self._snapshots}

    def rename(self, old: str, new: str) -> None:
        self.hook("rename")
        with self._lock:
            if old not in self._snapshots:
                raise errors.SourceNotFound(f"the fake backend has no snapshot called {old!r}")
            if new in self._snapshots or new in self._volumes:
                raise errors.NameTaken(f"the fake backend has an object called {new!r} already")
            self._snapshots[new] = replace(self._snapshots.pop(old), name=new)
        self.hook("renamed")
