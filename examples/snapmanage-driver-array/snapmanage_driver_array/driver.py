"""A driver to copy: replace the array, an SQLite file, with your own.

The driver is complete: it passes the same contract suite as the drivers of snapmanage. Your own code belongs in
`Array`, and in `_described`, which translates the array's answers.

**Late renames.** See `snapmanage.drivers.renaming`: a stopped worker may still do one rename after it continues.
"""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming

SNAPSHOTS = """
SELECT s.id, s.name, s.created_at, s.mounted, s.size_bytes, v.id AS volume_id, v.name AS volume
FROM snapshots AS s LEFT JOIN volumes AS v ON v.id = s.volume_id
"""

OBJECTS = """
SELECT name, 'snapshot-' || id AS identity FROM snapshots UNION ALL SELECT name, 'volume-' || id FROM volumes
"""


class Array:
    """A client of the array's API. Each call has a deadline, and raises errors of snapmanage only."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        self._path = path
        self._timeout_seconds = timeout_seconds

    def query(self, statement: str, *values: object) -> list[sqlite3.Row]:
        with self._connected() as connection:
            return connection.execute(statement, values).fetchall()

    def rename(self, old: str, new: str) -> None:
        """Rename in one step, never replacing another snapshot. Most arrays have such a call; use it."""
        try:
            with self._connected() as connection:
                renamed = connection.execute("UPDATE snapshots SET name = ? WHERE name = ?", (new, old)).rowcount
        except sqlite3.IntegrityError as failure:
            raise errors.NameTaken(f"the array has a snapshot {new!r} already; rename it") from failure
        if not renamed:
            raise errors.SourceNotFound(f"the array has no snapshot {old!r}")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            # mode=rw: a missing array must not be created, since it would be empty.
            address = f"{Path(self._path).absolute().as_uri()}?mode=rw"
            connection = sqlite3.connect(address, uri=True, timeout=self._timeout_seconds)
        except sqlite3.OperationalError as failure:
            raise errors.BackendUnavailable(f"can't connect to the array {self._path!r}: {failure}") from failure
        connection.row_factory = sqlite3.Row
        try:
            with connection:
                yield connection
        except sqlite3.OperationalError as failure:
            raise errors.BackendUnavailable(f"the array {self._path!r} failed: {failure}") from failure
        finally:
            connection.close()


class ArrayDriver:
    """Snapshots on one array. Several threads call the driver at once, so it has no state of its own."""

    # Each option is a key of the backend's section, and an argument of the constructor with the same name.
    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt("array_path", help="The array's file. Required."),
        cfg.FloatOpt(
            "array_timeout_seconds",
            default=30,
            min=0.1,
            help="Longest wait for one answer of the array. Raise it for a slow array; lower it to detect a hanging "
            "one sooner.",
        ),
    ]

    def __init__(self, array_path: str | None = None, array_timeout_seconds: float = 30) -> None:
        # The constructor doesn't access the backend: `check` is the first to do so.
        self._configured = bool(array_path)
        self.array = Array(array_path or "", array_timeout_seconds)

    def check(self) -> None:
        if not self._configured:
            raise errors.ConfigurationError("array_path is not set: set it to the array's file")
        self.array.query("SELECT 1 FROM volumes LIMIT 1")

    def storage_id(self) -> str | None:
        # Return the array's own id, so that two servers of one array are recognized. This array has no id.
        return None

    def list_snapshots(self) -> list[BackendSnapshot]:
        # Use one query for all snapshots. Never catch its errors: an empty list means that there are no snapshots.
        return [_described(row) for row in self.array.query(SNAPSHOTS)]

    def list_volumes(self) -> list[BackendVolume]:
        # Return the volumes that `find_volume` finds. The list helps operators to register them.
        return [_described_volume(row) for row in self.array.query("SELECT id, name, size_bytes FROM volumes")]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        # `name()` refuses other keys. `volume` is for references that are incomplete without it.
        name = _valid_name(reference.name())
        if found := self.look(name):
            return found[name]
        if self._volumes(name):
            raise errors.NotASnapshot(f"{name!r} is a volume; name one of its snapshots")
        raise errors.SourceNotFound(f"the array has no snapshot {name!r}")

    def find_volume(self, reference: Reference) -> BackendVolume:
        name = _valid_name(reference.name())
        for row in self._volumes(name):
            return _described_volume(row)
        if self.look(name):
            raise errors.NotAVolume(f"{name!r} is a snapshot; name the volume it was taken of")
        raise errors.SourceNotFound(f"the array has no volume {name!r}")

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        # Search objects of any kind: only those that are missing here count as gone. Never catch errors of the query.
        objects = [BackendObject(row["name"], row["identity"]) for row in self.array.query(OBJECTS)]
        return [each for each in objects if each.identity in identities or each.name in names]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        # Raise `ConfigurationError` here if the array refuses a name that snapshot_name_template makes.
        return name

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        # `renaming` looks for the finished state, checks the identity, renames, and looks again.
        return renaming.manage(self, binding)

    def unmanage_snapshot(self, binding: Binding) -> None:
        renaming.unmanage(self, binding)

    # `renaming` calls these two: a look at names, never cached, and one rename.

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        marks = ", ".join("?" * len(names))
        return {
            row["name"]: _described(row) for row in self.array.query(f"{SNAPSHOTS} WHERE s.name IN ({marks})", *names)
        }

    def rename(self, old: str, new: str) -> None:
        self.array.rename(old, new)

    def _volumes(self, name: str) -> list[sqlite3.Row]:
        return self.array.query("SELECT id, name, size_bytes FROM volumes WHERE name = ?", name)


def _described(row: Any) -> BackendSnapshot:
    """Return the facts. `snapmanage.core.backend` decides whether a snapshot may be managed."""
    return BackendSnapshot(
        name=row["name"],
        # The array's own id. It survives a rename, and no other object ever gets it.
        identity=f"snapshot-{row['id']}",
        # The size of the data, not the space that the snapshot occupies.
        size_bytes=row["size_bytes"],
        # Set both, so that a snapshot of another volume is refused. Set None where the volume is gone.
        parent=row["volume"],
        parent_identity=f"volume-{row['volume_id']}" if row["volume"] is not None else None,
        created_at=datetime.fromtimestamp(row["created_at"], UTC),
        unsafe=Unsafe.IN_USE if row["mounted"] else None,
        unsafe_reason="a host has it mounted" if row["mounted"] else "",
    )


def _described_volume(row: Any) -> BackendVolume:
    return BackendVolume(row["name"], f"volume-{row['id']}", row["size_bytes"])


def _valid_name(name: str) -> str:
    """Refuse a name that breaks the array's rules, before the array gets it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise errors.InvalidReference(f"the array can't have an object named {name!r}: it isn't UTF-8") from None
    return name
