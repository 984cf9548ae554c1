"""A template for a driver: copy it, and put your array in the place of the one in an SQLite file.

It is whole: `tests/contract` runs it as it runs the drivers that are shipped. What is yours to write is
in `Array`, and in what `_described` makes of your array's answers.
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
    """What your array's API gives. Each call has a deadline, and fails with errors of snapmanage's alone."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        self._path = path
        self._timeout_seconds = timeout_seconds

    def ask(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._connected() as connection:
            return connection.execute(query, values).fetchall()

    def rename(self, old: str, new: str) -> None:
        """One step that happens or doesn't, and never replaces: most arrays have one, use it."""
        try:
            with self._connected() as connection:
                renamed = connection.execute("UPDATE snapshots SET name = ? WHERE name = ?", (new, old)).rowcount
        except sqlite3.IntegrityError as failure:
            raise errors.NameTaken(f"the array has a snapshot {new!r} already") from failure
        if not renamed:
            raise errors.SourceNotFound(f"the array has no snapshot {old!r}")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            # mode=rw: an array that isn't there must not be made, it would be an empty one.
            address = f"{Path(self._path).absolute().as_uri()}?mode=rw"
            connection = sqlite3.connect(address, uri=True, timeout=self._timeout_seconds)
        except sqlite3.OperationalError as failure:
            raise errors.BackendUnavailable(f"the array {self._path!r} can't be reached: {failure}") from failure
        connection.row_factory = sqlite3.Row
        try:
            with connection:
                yield connection
        except sqlite3.OperationalError as failure:
            raise errors.BackendUnavailable(f"the array {self._path!r} failed: {failure}") from failure
        finally:
            connection.close()


class TemplateDriver:
    """Snapshots on one array; called from several threads at once, so that it keeps no state of its own."""

    # Each option becomes an argument of the constructor, of the same name, and one of the backend's section.
    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt("array_path", help="The array's file, required."),
        cfg.FloatOpt(
            "array_timeout_seconds",
            default=30,
            min=0.1,
            help="How long the array may take for one answer. Raise it for a slow array; lower it to learn of a "
            "hanging one sooner.",
        ),
    ]

    def __init__(self, array_path: str | None = None, array_timeout_seconds: float = 30) -> None:
        # Nothing is touched here; the first look at the backend is `check`.
        self._configured = bool(array_path)
        self._array = Array(array_path or "", array_timeout_seconds)

    def check(self) -> None:
        if not self._configured:
            raise errors.ConfigurationError("the template needs the option array_path: set it to the array's file")
        self._array.ask("SELECT 1 FROM volumes LIMIT 1")

    def storage_id(self) -> str | None:
        # The id that the array itself keeps, so that two servers of one array are known; None where it has none.
        return None

    def list_snapshots(self) -> list[BackendSnapshot]:
        # One question for all of them. Where it fails, let it fail: an empty list says that nothing is there.
        return [_described(row) for row in self._array.ask(SNAPSHOTS)]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        # `name()` refuses other keys. `volume` is for references that mean nothing without it.
        name = _possible(reference.name())
        if found := self.look(name):
            return found[name]
        if self._volumes(name):
            raise errors.NotASnapshot(f"{name!r} is a volume; name one of its snapshots")
        raise errors.SourceNotFound(f"the array has no snapshot {name!r}")

    def find_volume(self, reference: Reference) -> BackendVolume:
        name = _possible(reference.name())
        for row in self._volumes(name):
            return BackendVolume(row["name"], f"volume-{row['id']}", row["size_bytes"])
        if self.look(name):
            raise errors.NotAVolume(f"{name!r} is a snapshot; name the volume it was taken of")
        raise errors.SourceNotFound(f"the array has no volume {name!r}")

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        # Everything of any kind: only an object that is missing here counts as gone. Where it fails, let it fail.
        every = [BackendObject(row["name"], row["identity"]) for row in self._array.ask(OBJECTS)]
        return [each for each in every if each.identity in identities or each.name in names]

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        # Say `ConfigurationError` here where snapshot_name_template makes what your array doesn't take.
        return name

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        # Looks for the finished state, checks the identity, renames, looks again: nothing is left to you.
        return renaming.manage(self, binding)

    def unmanage_snapshot(self, binding: Binding) -> None:
        renaming.unmanage(self, binding)

    # What `renaming` asks for: a look at names, fresh each time, and one rename.

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        marks = ", ".join("?" * len(names))
        return {
            row["name"]: _described(row) for row in self._array.ask(f"{SNAPSHOTS} WHERE s.name IN ({marks})", *names)
        }

    def rename(self, old: str, new: str) -> None:
        self._array.rename(old, new)

    def _volumes(self, name: str) -> list[sqlite3.Row]:
        return self._array.ask("SELECT id, name, size_bytes FROM volumes WHERE name = ?", name)


def _described(row: Any) -> BackendSnapshot:
    """Facts only. What may be managed is decided in `snapmanage.core.backend`, the same for all."""
    return BackendSnapshot(
        name=row["name"],
        # The array's own id, which outlives a rename and is never given to another object.
        identity=f"snapshot-{row['id']}",
        # Of the data, not of the space that the snapshot takes.
        size_bytes=row["size_bytes"],
        # Both, so that a snapshot of another volume is refused; None where its volume is gone.
        parent=row["volume"],
        parent_identity=f"volume-{row['volume_id']}" if row["volume"] is not None else None,
        created_at=datetime.fromtimestamp(row["created_at"], UTC),
        unsafe=Unsafe.IN_USE if row["mounted"] else None,
        unsafe_reason="a host has it mounted" if row["mounted"] else "",
    )


def _possible(name: str) -> str:
    """Refuse what the array can't have before it is asked, by the array's own rules for names."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise errors.InvalidReference(f"nothing on the array can be called {name!r}: that is no UTF-8") from None
    return name
