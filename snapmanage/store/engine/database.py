"""Transactions on SQLite, MariaDB and PostgreSQL, and the clock of all hosts."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError

from snapmanage.store.engine import mariadb, postgresql, surroundings, time_limits, tls
from snapmanage.store.engine.failures import leave_refusing_servers, repeatable, shorten

T = TypeVar("T")
Clock = Callable[[Connection], datetime]

DEADLOCK_TRIES = 10
# A transaction that has waited so long is not repeated. A deadlock is found at once, but MariaDB waits 50 s for a lock
# of another client before it reports the same kind of error; ten times, a thread would wait for minutes.
RETRY_SECONDS = 20.0
# A connection that was in use so recently is not pinged: a database takes longer to restart.
PING_AFTER_SECONDS = 1.0
_IDLE_SINCE = "snapmanage_idle_since"
# A process that is frozen within a transaction keeps its locks, and other workers can't take over the locked records.
# Our transactions are never idle that long.
IDLE_SECONDS = 10
# In seconds, but tcp_user_timeout in milliseconds. A database host that vanishes must not hang a thread for hours.
# The read timeout is longer than the wait for a row's lock (50 s by default). The URL can set other values.
_MARIADB_DEADLINES = {
    "connect_timeout": 10,
    "read_timeout": 120,
    "write_timeout": 60,
}
_DEADLINES: dict[str, dict[str, Any]] = {
    "mysql": _MARIADB_DEADLINES,
    "mariadb": _MARIADB_DEADLINES,
    "postgresql": {
        "connect_timeout": 10,
        "tcp_user_timeout": 30_000,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    },
}
# Compiled statements that a process keeps, up to half as many more between two times at which SQLAlchemy forgets some.
# `store.paging` keeps no statement whose form a client chooses.
STATEMENTS_KEPT = 500
_COMMON_OPTIONS: dict[str, Any] = {
    "hide_parameters": True,  # texts of users don't belong into the log
    "query_cache_size": STATEMENTS_KEPT,
}
_NOW = {
    "mysql": sa.text("SELECT UTC_TIMESTAMP(6)"),
    "mariadb": sa.text("SELECT UTC_TIMESTAMP(6)"),
    "postgresql": sa.text("SELECT clock_timestamp() AT TIME ZONE 'UTC'"),
}


def database_clock(conn: Connection) -> datetime:
    """Return the database's time, in UTC, so that the hosts' clocks may differ; on SQLite, return the host's time."""
    statement = _NOW.get(conn.dialect.name)
    if statement is None:
        return datetime.now(UTC)
    now: datetime = conn.execute(statement).scalar_one()
    return now.replace(tzinfo=UTC)


class Database:
    """An engine with its clock.

    `write` calls the work with a connection and the time, in one transaction. It calls the work again if the database
    soon broke a deadlock, or if the server refused to write. The work may therefore only read and write rows.
    """

    def __init__(self, engine: Engine, clock: Clock = database_clock) -> None:
        self.engine = engine
        self.clock = clock
        # SQLite admits one writer and makes the others poll; they wait for this lock instead.
        self._one_writer: Any = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()
        self._closed = False
        event.listen(engine, "checkin", self._close_late)

    def write(self, work: Callable[[Connection, datetime], T], lock_seconds: int | None = None) -> T:
        """Call the work in a transaction; with `lock_seconds` only once, and wait only so long for each locked row."""
        latest = time.monotonic() + RETRY_SECONDS
        for tries_left in reversed(range(1 if lock_seconds else DEADLOCK_TRIES)):
            try:
                with self._one_writer, self._begin(lock_seconds) as conn:
                    return work(conn, self.clock(conn))
            except DBAPIError as error:
                if not (tries_left and repeatable(error)) or time.monotonic() > latest:
                    raise
            time.sleep(0.01 * (DEADLOCK_TRIES - tries_left))
        raise AssertionError("unreachable")

    @contextmanager
    def _begin(self, lock_seconds: int | None) -> Iterator[Connection]:
        with self.engine.connect() as conn:
            if lock_seconds:
                conn = conn.execution_options(**{time_limits.LOCK_SECONDS: lock_seconds})
            with conn.begin():
                yield conn

    @contextmanager
    def read(self, at_one_moment: bool = False, statement_seconds: float | None = None) -> Iterator[Connection]:
        """Open a connection for reading, which waits for no writer; `at_one_moment` shows all rows at one moment.

        Raise `SlowList` for a statement that takes longer than `statement_seconds`.
        """
        options: dict[str, Any] = {
            "snapmanage_reads": True,
            postgresql.AT_ONE_MOMENT: at_one_moment,
            time_limits.SECONDS: statement_seconds,
        }
        if at_one_moment and self.engine.dialect.name in ("mysql", "mariadb"):
            options["isolation_level"] = "REPEATABLE READ"
        connection = self.engine.connect().execution_options(**options)
        with time_limits.explained(statement_seconds), connection as conn, conn.begin():
            yield conn

    def now(self) -> datetime:
        with self.read() as conn:
            return self.clock(conn)

    def close(self) -> None:
        """Close every connection; a connection in use is closed when its thread returns it."""
        self._closed = True
        self.engine.dispose()

    def _close_late(self, connection: Any, record: Any) -> None:
        if self._closed and connection is not None:
            record.invalidate()


def connect(url: str, pool_size: int = 10) -> Database:
    """Return the database of a URL such as `sqlite:////var/lib/snapmanage/snapmanage.db`; it connects when used.

    Raise `ValueError` or `ArgumentError` for a malformed URL, or one of another kind of database.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sa.create_engine(parsed, connect_args={"timeout": 60, "check_same_thread": False}, **_COMMON_OPTIONS)
        shorten(engine)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return Database(engine)
    if parsed.get_backend_name() not in _DEADLINES:
        raise ValueError(f"there is no dialect {parsed.get_backend_name()!r}")
    tls.require_values(url)
    surroundings.refuse_other_files(parsed)
    return Database(_server_engine(parsed, pool_size))


def connections(pool_size: int) -> int:
    """Return the number of connections that a process opens at most."""
    return 2 * pool_size


def _server_engine(url: sa.URL, pool_size: int) -> Engine:
    deadlines = _DEADLINES[url.get_backend_name()].items()
    given = {name: value for name, value in deadlines if name not in url.query}
    options: dict[str, Any] = {
        "pool_size": pool_size,
        "max_overflow": connections(pool_size) - pool_size,
        "pool_recycle": 3600,
        **_COMMON_OPTIONS,
    }
    if url.get_backend_name() == "postgresql":
        engine = postgresql.create_engine(url, given, IDLE_SECONDS, **options)
    else:
        engine = mariadb.create_engine(url, given, IDLE_SECONDS, **options)
    shorten(engine)
    leave_refusing_servers(engine)
    event.listen(engine, "checkin", _note_idle)
    event.listen(engine, "checkout", partial(_ping_idle, engine))
    return engine


def _note_idle(connection: Any, record: Any) -> None:
    record.info[_IDLE_SINCE] = time.monotonic()


def _ping_idle(engine: Engine, connection: Any, record: Any, proxy: Any) -> None:
    """Ping an idle connection. SQLAlchemy's own ping, before each use, would slow a busy process down."""
    idle_since = record.info.get(_IDLE_SINCE)
    if idle_since is None or time.monotonic() - idle_since < PING_AFTER_SECONDS:
        return
    try:
        alive = engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error:
        alive = False
    if not alive:
        raise InvalidatePoolError("the database has closed an idle connection")


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # the begin event begins transactions
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(conn: Connection) -> None:
    """Begin a transaction; a writer locks at once, since a reader that became a writer later could only fail."""
    options = conn.get_execution_options()
    reads = options.get("snapmanage_reads", False)
    time_limits.limit_sqlite(conn.connection.dbapi_connection, options.get(time_limits.SECONDS))
    conn.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
