"""PostgreSQL's sessions, so that they can be pooled by PgBouncer: a setting lasts as long as its transaction.

With PgBouncer's transaction pooling, each transaction may run in another session of the server. A setting of a session
would be lost, or reach another client, and so would a prepared statement. Startup parameters other than
`client_encoding` are refused.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event

from snapmanage import errors
from snapmanage.store.engine import time_limits, tls

AT_ONE_MOMENT = "snapmanage_at_one_moment"
THRESHOLD = "prepare_threshold"
_IDLE_TIMEOUT = "idle_in_transaction_session_timeout"


def create_engine(url: sa.URL, connect_args: Mapping[str, Any], idle_seconds: int, **options: Any) -> Engine:
    """Return an engine whose transactions begin here, with the settings that would otherwise belong to the session.

    The server ends a transaction that is idle for `idle_seconds`, unless the URL sets another time.
    """
    url = _with_psycopg(url)
    checked = tls.checks_postgresql(url)
    given = dict(connect_args)
    if checked:
        given["gssencmode"] = "disable"  # libpq would prefer Kerberos, which checks no certificate
    if "client_encoding" not in url.query:
        given["client_encoding"] = "utf8"
    if THRESHOLD in url.query:
        given[THRESHOLD] = _threshold(url.query[THRESHOLD])
    engine = sa.create_engine(
        url.difference_update_query([THRESHOLD]),
        connect_args=given,
        isolation_level="AUTOCOMMIT",  # psycopg begins no transaction
        use_native_hstore=False,  # the query for hstore would need a transaction
        **options,
    )
    tls.explain_failures(engine, tls.POSTGRESQL if checked else None)
    event.listen(engine, "begin", partial(_begin, guard(url, idle_seconds)))
    event.listen(engine, "do_execute", _prepare_no_uncached)
    if THRESHOLD not in given:
        event.listen(engine, "connect", prepare_nothing_behind_a_pooler)
    return engine


def _with_psycopg(url: sa.URL) -> sa.URL:
    """Return the URL with psycopg: unlike other drivers, its `commit` ends transactions that it didn't begin."""
    if url.drivername == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.get_driver_name() != "psycopg":
        raise errors.ConfigurationError(
            f"[database] connection begins with {url.drivername}://, which is not supported: use postgresql+psycopg://"
        )
    return url


def _threshold(text: Any) -> int | None:
    """Return the number of executions after which a statement is prepared; None, written as 0, is never."""
    if not (isinstance(text, str) and text.isascii() and text.isdigit()):
        raise errors.ConfigurationError(
            f"[database] connection has {THRESHOLD}={text!r}; write a whole number, or 0 for no prepared statements"
        )
    return int(text) or None


def guard(url: sa.URL, idle_seconds: int) -> str:
    """Return the SQL that bounds an idle transaction; empty if the URL sets the bound."""
    if _IDLE_TIMEOUT in str(url.query.get("options", "")):
        return ""
    return f"; SET LOCAL {_IDLE_TIMEOUT} = '{idle_seconds}s'"


def _begin(guard: str, conn: Connection) -> None:
    options = conn.get_execution_options()
    if "isolation_level" in options:  # the driver begins such a transaction, or there is none
        return
    level = "REPEATABLE READ" if options.get(AT_ONE_MOMENT) else "READ COMMITTED"
    # All in one message: the guard and the limit cost no round trip.
    limit = time_limits.in_postgresql(options.get(time_limits.SECONDS), options.get(time_limits.LOCK_SECONDS))
    conn.exec_driver_sql(f"BEGIN ISOLATION LEVEL {level}{guard}{limit}")


def _prepare_no_uncached(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Execute a statement that SQLAlchemy must not cache, and return True; return False for all others.

    A client chooses the form of such a statement, and each prepared form takes memory of the session.
    """
    if context is None or context.execution_options.get("compiled_cache", ...) is not None:
        return False
    cursor.execute(statement, parameters, prepare=False)
    return True


def prepare_nothing_behind_a_pooler(connection: Any, record: Any) -> None:
    """Switch prepared statements off if a pooler is between the client and the session.

    A pooler such as PgBouncer gives its clients a made-up process id, which differs from the session's.
    """
    [[session]] = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchall()
    if session != connection.info.backend_pid:
        connection.prepare_threshold = None
