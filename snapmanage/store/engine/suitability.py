"""Checks of a database before it is used: defaults that endanger or limit the data."""

from collections.abc import Callable, Mapping

import sqlalchemy as sa
from sqlalchemy import Connection

from snapmanage import errors
from snapmanage.store.engine.database import Database
from snapmanage.store.mapping import tables

_MARIADB = sa.text(
    "SELECT DATABASE() AS name, @@character_set_database AS charset, @@log_bin AS logs, @@binlog_format AS format, "
    "@@innodb_flush_log_at_trx_commit AS flushes"
)
_POSTGRESQL = sa.text(
    "SELECT current_database() AS name, current_setting('server_encoding') AS charset, "
    "current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous"
)


def check(db: Database) -> list[str]:
    """Return warnings about the database's settings; raise `ConfigurationError` for settings that prevent the work."""
    checks = _CHECKS.get(db.engine.dialect.name)
    if checks is None:
        return []
    with db.read() as conn:
        return checks(conn)


def _mariadb(conn: Connection) -> list[str]:
    found = conn.execute(_MARIADB).one()
    if found.logs and found.format == "STATEMENT":
        raise errors.ConfigurationError(
            "the database server has binlog_format = STATEMENT, which refuses writes at READ COMMITTED: "
            "set binlog_format = MIXED (or ROW) and restart the server"
        )
    warnings = []
    if found.charset != "utf8mb4":
        warnings.append(
            f"the database {found.name} has the character set {found.charset}: snapmanage's tables are utf8mb4 anyway, "
            f"and tables made by others are not; ALTER DATABASE {found.name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        )
    if str(found.flushes) != "1":
        warnings.append(_unsafe(f"innodb_flush_log_at_trx_commit = {found.flushes}", "1"))
    return warnings


def _postgresql(conn: Connection) -> list[str]:
    found = conn.execute(_POSTGRESQL).one()
    warnings = []
    if found.charset != "UTF8":
        text = (
            f"the database {found.name} has the encoding {found.charset}, which cannot keep every name: "
            f"create one with `createdb --template template0 --encoding UTF8 --owner USER {found.name}`"
        )
        if not sa.inspect(conn).has_table(tables.snapshots.name):
            raise errors.ConfigurationError(text)
        warnings.append(f"{text}, and move the data with pg_dump")
    if found.fsync != "on":
        warnings.append(_unsafe(f"fsync = {found.fsync}", "on"))
    if found.synchronous == "off":
        warnings.append(_unsafe("synchronous_commit = off", "on"))
    return warnings


def _unsafe(setting: str, right: str) -> str:
    return f"the database has {setting}: a crash can lose requests that were accepted; set it to {right}"


_CHECKS: Mapping[str, Callable[[Connection], list[str]]] = {
    "mysql": _mariadb,
    "mariadb": _mariadb,
    "postgresql": _postgresql,
}
