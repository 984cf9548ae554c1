"""Classify the errors of databases, and cut their texts.

Two questions are kept apart. `away`: does the database fail to answer, so that a client gets 503? It lists the codes
that say so. `passes`: can a retry help, so that a request must be kept? It lists the codes that say that it can't.
"""

from typing import Any

from sqlalchemy import Engine, ExceptionContext, event
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, StatementError

from snapmanage.core.values.text import cut

# Characters of a statement, and of the database's own text, that an error repeats in the log.
LONGEST_STATEMENT = 60
LONGEST_TEXT = 300

_DEADLOCKS = {
    1213,  # MariaDB: deadlock found
    1205,  # MariaDB: lock wait timeout
    1020,  # MariaDB: record has changed since last read
}
_DEADLOCK_STATES = {"40001", "40P01", "55P03"}
# MariaDB: the node is not part of its Galera cluster's majority, the server is read-only (as a replica or otherwise).
_REFUSING_CODES = {1047, 1290, 1836}
# PostgreSQL refuses writes: it became a standby, or an operator made it read-only because its disk is full.
_READ_ONLY_STATE = "25006"

# SQLSTATE classes of PostgreSQL: connection, login, database missing, rollback, resources, intervention, system.
_AWAY_CLASSES = {"08", "28", "3D", "40", "53", "57", "58"}
_AWAY_STATES = {_READ_ONLY_STATE, "25P03", "55P03"}
# MariaDB and MySQL: the server has no room, shuts down, ends a connection, refuses a login, or is read-only.
_AWAY_CODES = _DEADLOCKS | {
    *(1021, 1030, 1037, 1038, 1040, 1041, 1042, 1043, 1044, 1045, 1047, 1049, 1053, 1077, 1079, 1080, 1114, 1129, 1130),
    *(1135, 1152, 1158, 1159, 1160, 1161, 1180, 1184, 1203, 1226, 1290, 1317, 1792, 1836, 1927, 1969, 3024, 4031),
}
# A statement took longer than its limit: MariaDB, MySQL, PostgreSQL, and SQLite, whose only limits are ours.
_TIMED_OUT = {1969, 3024, "57014", 9}
# The client's own errors: it can't connect, or lost the connection.
_CLIENT_CODES = range(2000, 3000)
# SQLite: busy, locked, no memory, read-only, interrupted, I/O error, disk full, can't open, protocol.
_AWAY_RESULTS = {5, 6, 7, 8, 9, 10, 13, 14, 15}

# The statement is wrong or too large for the database; the same statement fails again.
_BAD_CODES = {1052, 1054, 1064, 1116, 1117, 1118, 1139, 1146, 1153, 1267, 1292, 1305, 1390, 1436, 1690, 4038}
_BAD_CLASSES = {"22", "42", "54"}
_BAD_RESULTS = {1, 18}


def deadlocked(error: DBAPIError) -> bool:
    """Return whether the database rolled this transaction back to break a deadlock."""
    state, code, _ = _reported(error)
    return state in _DEADLOCK_STATES or code in _DEADLOCKS or "database is locked" in str(error.orig)


def refuses_work(error: DBAPIError) -> bool:
    """Return whether this server can't write at present, and another server of its cluster may."""
    state, code, _ = _reported(error)
    return state == _READ_ONLY_STATE or code in _REFUSING_CODES


def repeatable(error: DBAPIError) -> bool:
    """Return whether the transaction is surely not committed, and a repetition may succeed at once.

    The outcome of a commit that a server refused is unknown; its error has no statement.
    """
    return deadlocked(error) or (refuses_work(error) and error.statement is not None)


def rolled_back(error: Exception) -> bool:
    """Return whether the database rolled this transaction back because of a lock of another one."""
    return isinstance(error, DBAPIError) and not error.connection_invalidated and deadlocked(error)


def away(error: Exception) -> bool:
    """Return whether the database is down, has closed the connection, or refuses all work at the moment."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or _failed_to_connect(error):
        return True
    state, code, result = _reported(error)
    if state is not None:
        return state in _AWAY_STATES or state[:2] in _AWAY_CLASSES
    return code in _AWAY_CODES or code in _CLIENT_CODES or result in _AWAY_RESULTS


def timed_out(error: DBAPIError) -> bool:
    """Return whether the database ended a statement that took too long."""
    return not error.connection_invalidated and not _TIMED_OUT.isdisjoint(_reported(error))


def may_pass(error: Exception) -> bool:
    """Return whether a retry can help: an unknown error counts, so that no request is given up too early."""
    if away(error):
        return True
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state, code, result = _reported(error)
    return (state or "")[:2] not in _BAD_CLASSES and code not in _BAD_CODES and result not in _BAD_RESULTS


def passes(error: Exception) -> bool:
    """Return whether a retry can help: it `may_pass`, or another transaction was quicker."""
    return may_pass(error) or isinstance(error, IntegrityError)


def shorten(engine: Engine) -> None:
    """Cut the texts of an engine's errors: they name the beginning of the statement, and none of its values.

    A whole statement can have the length of a request, and the later lines of a database's own text repeat values.
    """
    event.listen(engine, "handle_error", _shorten)


def leave_refusing_servers(engine: Engine) -> None:
    """Close an engine's connections once a server refuses to write: new ones may lead to another server."""
    event.listen(engine, "handle_error", _close_if_refused)


def _close_if_refused(context: ExceptionContext) -> None:
    if isinstance(context.sqlalchemy_exception, DBAPIError) and refuses_work(context.sqlalchemy_exception):
        context.is_disconnect = True


def _shorten(context: ExceptionContext) -> None:
    error, original = context.sqlalchemy_exception, context.original_exception
    if isinstance(error, StatementError):
        error.statement = cut(error.statement, LONGEST_STATEMENT) if error.statement else error.statement
        error.args = tuple(map(_short, error.args))
    original.args = tuple(map(_short, original.args))


def _short(part: Any) -> Any:
    return cut(part.partition("\n")[0], LONGEST_TEXT) if isinstance(part, str) else part


def _failed_to_connect(error: DBAPIError) -> bool:
    """Return whether there was no connection yet, and so no statement."""
    return error.statement is None and isinstance(error, OperationalError | InterfaceError)


def _reported(error: DBAPIError) -> tuple[str | None, int | None, int | None]:
    """Return PostgreSQL's SQLSTATE, MariaDB's code and SQLite's primary result code, as far as the error has them.

    PyMySQL 1.2 reports a SQLSTATE too, but MariaDB's says little: HY000 for a full disk, and 42000, the class of a
    wrong statement, for a user that has used up its limits.
    """
    original: Any = error.orig
    arguments = getattr(original, "args", ())
    code = arguments[0] if arguments and isinstance(arguments[0], int) else None
    state = getattr(original, "sqlstate", None) if code is None else None
    result = getattr(original, "sqlite_errorcode", None)
    return state, code, None if result is None else result & 0xFF
