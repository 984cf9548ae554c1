"""The databases of the functional tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sqlalchemy import Engine, event

from snapmanage.store.engine import schema
from snapmanage.store.engine.database import connect

# SQLite admits one writer at a time: its transactions don't overlap, skip no locked row, and have no deadlock.
ON_SERVERS = pytest.mark.parametrize("database", ["mariadb", "postgresql"], indirect=True)


Statement = tuple[str, Any]


def sqlite(folder: Path) -> str:
    """Return the URL of the SQLite database in a folder; make it with the current schema if it is missing."""
    file = folder / "snapmanage.db"
    if not file.exists():
        file.write_bytes(_migrated())
    return f"sqlite:///{file}"


@cache
def _migrated() -> bytes:
    """Return the content of a migrated SQLite file; the migrations take longer than many tests."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "snapmanage.db"
        db = connect(f"sqlite:///{file}")
        schema.sync(db.engine)
        db.close()
        return file.read_bytes()


@contextmanager
def recorded_statements(engine: Engine) -> Iterator[list[Statement]]:
    """Record every statement with its parameters, the first ones of a statement for many rows."""
    recorded: list[Statement] = []

    def listen(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        recorded.append((statement, parameters[0] if executemany else parameters))

    event.listen(engine, "before_cursor_execute", listen)
    try:
        yield recorded
    finally:
        event.remove(engine, "before_cursor_execute", listen)
