"""MariaDB's sessions: settings that don't depend on the server's defaults, and a faster escape of texts for PyMySQL.

PyMySQL looks up each character, and is slowest at the quotes of JSON.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine, event

from snapmanage.store.engine import time_limits, tls

# A server's defaults may break our transactions: values that are cut to fit, statements that find only some rows,
# a connection that ends with each commit.
SESSION = ", ".join(
    f"SESSION {setting}"
    for setting in (
        "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
        "sql_safe_updates = 0",
        "sql_select_limit = 18446744073709551615",
        "sql_auto_is_null = 0",
        "completion_type = 'NO_CHAIN'",
        "time_zone = '+00:00'",
    )
)
# MySQL has no such variable, and reads MariaDB's part as a comment.
_END_IDLE = "SET @snapmanage = 1 /*M!100300 , SESSION idle_transaction_timeout = {} */"
_INIT_COMMAND = "init_command"
# A node of a Galera cluster refuses every statement while it is not part of the majority, also a rollback.
_NOT_READY = 1047


def create_engine(url: sa.URL, connect_args: Mapping[str, Any], idle_seconds: int, **options: Any) -> Engine:
    """Return an engine whose sessions have these settings instead of the server's.

    The server ends a transaction that is idle for `idle_seconds`, unless the `init_command` of the URL sets another
    time.
    """
    statements = (_END_IDLE.format(idle_seconds), *url.normalized_query.get(_INIT_COMMAND, ()), f"SET {SESSION}")
    url = url.difference_update_query([_INIT_COMMAND])
    url, checked = tls.mariadb(url.update_query_dict({"charset": "utf8mb4"}))
    engine = sa.create_engine(url, connect_args=dict(connect_args), isolation_level="READ COMMITTED", **options)
    tls.explain_failures(engine, tls.MARIADB if checked else None, checked)
    set_session = partial(_set_session, statements)
    event.listen(engine, "connect", set_session, insert=True)  # before SQLAlchemy reads the session's mode
    event.listen(engine, "before_cursor_execute", time_limits.limit_mariadb, retval=True)
    if engine.dialect.driver == "pymysql":
        event.listen(engine, "connect", escape_quickly)
        event.listen(engine, "connect", roll_back_if_needed)
    return engine


def _set_session(statements: Sequence[str], connection: Any, record: Any) -> None:
    with closing(connection.cursor()) as cursor:
        for statement in statements:
            cursor.execute(statement)


def escape_quickly(connection: Any, record: Any) -> None:
    """Make a new connection escape the texts of its statements here."""
    from pymysql.constants import SERVER_STATUS

    stock = connection.escape

    def escape(value: Any, mapping: Any = None) -> str:
        plain = connection.server_status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES
        if not isinstance(value, str) or plain or connection.charset != "utf8mb4":
            return str(stock(value, mapping))
        # In utf8mb4, no other character can end the text or begin an escape.
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"

    connection.escape = escape


def roll_back_if_needed(connection: Any, record: Any) -> None:
    """Let a new connection skip a rollback right after a commit: the pool rolls back whenever it gets one back.

    A connection whose node refuses the rollback is closed, which rolls back too.
    """
    query, commit, rollback = connection.query, connection.commit, connection.rollback
    is_clean = False

    def query_noting(*arguments: Any, **named: Any) -> Any:
        nonlocal is_clean
        is_clean = False
        return query(*arguments, **named)

    def commit_noting() -> None:
        nonlocal is_clean
        commit()
        is_clean = True

    def roll_back() -> None:
        nonlocal is_clean
        if is_clean:
            return
        try:
            rollback()
        except connection.OperationalError as error:
            if error.args[0] != _NOT_READY:
                raise
            is_clean = True
            record.invalidate()

    connection.query, connection.commit, connection.rollback = query_noting, commit_noting, roll_back
