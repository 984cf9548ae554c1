"""Limits on the time of statements that a client chooses, which must end, also after the client has left.

Another limit is on the time for which a statement waits for a row that another transaction has locked.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from snapmanage import errors
from snapmanage.store.engine.failures import timed_out

# An option of a connection: the seconds of each of its statements, None for no limit.
SECONDS = "snapmanage_statement_seconds"
# An option of a connection: the whole seconds for which a statement waits for a locked row. SQLite locks no rows.
LOCK_SECONDS = "snapmanage_lock_seconds"
# Steps of SQLite's virtual machine between two looks at the clock, which are about a millisecond.
SQLITE_STEPS = 100_000


@contextmanager
def explained(seconds: float | None) -> Iterator[None]:
    """Raise `SlowList` for a statement that the database has ended after so many seconds."""
    try:
        yield
    except DBAPIError as error:
        if seconds is None or not timed_out(error):
            raise
        raise errors.SlowList(
            f"the database worked on the list for {seconds:g} s; use fewer filters or shorter pages"
        ) from error


def limit_mariadb(
    conn: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> tuple[str, Any]:
    """Return a statement with its limits, which MySQL reads as a comment.

    A statement of many rows gets none: PyMySQL would send it row by row.
    """
    options = conn.get_execution_options()
    limits = {"max_statement_time": options.get(SECONDS), "innodb_lock_wait_timeout": options.get(LOCK_SECONDS)}
    settings = ", ".join(f"{name} = {seconds}" for name, seconds in limits.items() if seconds is not None)
    if not settings or executemany:
        return statement, parameters
    return f"/*M!100100 SET STATEMENT {settings} FOR */ {statement}", parameters


def in_postgresql(seconds: float | None, lock_seconds: int | None) -> str:
    """Return the SQL that limits the statements of a transaction."""
    limits = {"statement_timeout": seconds, "lock_timeout": lock_seconds}
    set_local = (f"; SET LOCAL {name} = {round(limit * 1000)}" for name, limit in limits.items() if limit is not None)
    return "".join(set_local)


def limit_sqlite(connection: Any, seconds: float | None) -> None:
    """Limit all statements of a transaction together, since SQLite calls a function between its steps."""
    if seconds is None:
        connection.set_progress_handler(None, 0)
    else:
        end = time.monotonic() + seconds
        connection.set_progress_handler(lambda: time.monotonic() > end, SQLITE_STEPS)
