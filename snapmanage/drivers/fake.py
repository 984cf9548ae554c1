"""A backend in memory, for trials, tests and benchmarks. Its content is lost when the process ends.

Tests add volumes and snapshots, and set a `hook`. The driver calls the hook with the name of each step before the step.
If the hook raises an error, the step fails with it; while the hook waits, the step hangs.

**Late renames.** The driver renames by name, and only to a free name, so the guarantee of `snapmanage.drivers.renaming`
applies as long as the process runs. The driver removes nothing; only tests do.
"""

import itertools
import threading
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import GIB, BackendObject, BackendSnapshot, BackendVolume, Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


def _do_nothing(step: str) -> None:
    """Let the step happen: the hook of a reachable backend."""


def _fail(step: str) -> None:
    raise errors.BackendUnavailable(f"the fake backend is unreachable, at the step {step!r}")


class FakeDriver:
    """Volumes and snapshots in memory.

    The steps passed to `hook` are `check`, `storage_id`, `list`, `list_volumes`, `find`, `locate`, `look`, `rename` and
    `renamed` (the rename has happened, but the driver has not returned yet).
    """

    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.IntOpt(
            "fake_volumes",
            default=1,
            min=0,
            help="Number of initial volumes, named volume-1, volume-2 and so on. Raise it for larger trials and "
            "benchmarks; 0 makes an empty backend.",
        ),
        cfg.IntOpt(
            "fake_snapshots",
            default=3,
            min=0,
            help="Number of initial snapshots of each volume, named volume-1-snapshot-1 and so on. Raise it for longer "
            "listings; 0 leaves no snapshot to manage.",
        ),
    ]

    def __init__(self, fake_volumes: int = 1, fake_snapshots: int = 3) -> None:
        self.hook: Callable[[str], None] = _do_nothing
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

    # Methods for tests.

    def add_volume(self, name: str, size_bytes: int = GIB) -> BackendVolume:
        with self._lock:
            number = next(self._serial)
            self._volumes[name] = BackendVolume(name, f"fake-{number}", size_bytes, EPOCH + timedelta(seconds=number))
            return self._volumes[name]

    def add_snapshot(self, volume: str, name: str, size_bytes: int | None = None) -> BackendSnapshot:
        """Add a snapshot of an existing volume, by default as large as it, and replace a snapshot of the same name."""
        with self._lock:
            parent = self._volumes[volume]
            number = next(self._serial)
            created_at = EPOCH + timedelta(seconds=number)
            size = parent.size_bytes if size_bytes is None else size_bytes
            made = BackendSnapshot(name, f"fake-{number}", size, volume, parent.identity, created_at)
            self._snapshots[name] = made
            return made

    def mark(self, name: str, unsafe: Unsafe | None, reason: str = "a test has marked it") -> None:
        """Make a snapshot or a volume unsafe to manage; `None` makes it safe again."""
        changes: dict[str, Any] = {"unsafe": unsafe, "unsafe_reason": reason if unsafe else ""}
        with self._lock:
            if name in self._snapshots:
                self._snapshots[name] = replace(self._snapshots[name], **changes)
            else:
                self._volumes[name] = replace(self._volumes[name], **changes)

    def remove(self, name: str) -> None:
        """Remove a volume or a snapshot as another program would; snapshots of the volume lose their parent."""
        with self._lock:
            self._snapshots.pop(name, None)
            if self._volumes.pop(name, None) is None:
                return
            for snapshot in self._snapshots.values():
                if snapshot.parent == name:
                    self._snapshots[snapshot.name] = replace(snapshot, parent=None, parent_identity=None)

    def go_away(self) -> None:
        """Let every step fail from now on, as on an unreachable backend."""
        self.hook = _fail

    def come_back(self) -> None:
        """Remove the hook."""
        self.hook = _do_nothing

    # Methods of a driver.

    def check(self) -> None:
        self.hook("check")

    def storage_id(self) -> str | None:
        self.hook("storage_id")
        return f"fake:{self._id}"

    def list_snapshots(self) -> list[BackendSnapshot]:
        self.hook("list")
        with self._lock:
            return list(self._snapshots.values())

    def list_volumes(self) -> list[BackendVolume]:
        self.hook("list_volumes")
        with self._lock:
            return list(self._volumes.values())

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        self.hook("find")
        name = reference.name()
        with self._lock:
            if name in self._volumes:
                raise errors.NotASnapshot(f"{name!r} is a volume: name one of its snapshots")
            if name not in self._snapshots:
                raise errors.SourceNotFound(f"the fake backend has no snapshot named {name!r}")
            return self._snapshots[name]

    def find_volume(self, reference: Reference) -> BackendVolume:
        self.hook("find")
        name = reference.name()
        with self._lock:
            if name in self._snapshots:
                raise errors.NotAVolume(f"{name!r} is a snapshot: name the volume that it was taken of")
            if name not in self._volumes:
                raise errors.SourceNotFound(f"the fake backend has no volume named {name!r}")
            return self._volumes[name]

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        self.hook("locate")
        with self._lock:
            objects = [BackendObject(each.name, each.identity) for each in self._volumes.values()]
            objects += [BackendObject(each.name, each.identity) for each in self._snapshots.values()]
        return [each for each in objects if each.identity in identities or each.name in names]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        return name

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        return renaming.manage(self, binding)

    def unmanage_snapshot(self, binding: Binding) -> None:
        renaming.unmanage(self, binding)

    # Methods of a `Renamer`.

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        self.hook("look")
        with self._lock:
            return {name: self._snapshots[name] for name in names if name in self._snapshots}

    def rename(self, old: str, new: str) -> None:
        self.hook("rename")
        with self._lock:
            if old not in self._snapshots:
                raise errors.SourceNotFound(f"the fake backend has no snapshot named {old!r}")
            if new in self._snapshots or new in self._volumes:
                raise errors.NameTaken(f"the fake backend already has an object named {new!r}: rename that one first")
            self._snapshots[new] = replace(self._snapshots.pop(old), name=new)
        self.hook("renamed")
