"""Heartbeats of the servers that own backends, and the limits of projects."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, Insert, insert, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite

from snapmanage.core.quota import Amount
from snapmanage.core.service import Service
from snapmanage.store.tables import quotas, services


def beat(conn: Connection, service: Service) -> None:
    """Note that a server is alive; whether it is disabled stays as it was."""
    alive = {"heartbeat_at": service.heartbeat_at, "driver": service.driver}
    known = conn.execute(update(services).where(services.c.server == service.server).values(alive))
    if not known.rowcount:
        conn.execute(insert(services), alive | {"server": service.server})


def get(conn: Connection, server: str) -> Service | None:
    row = conn.execute(select(services).where(services.c.server == server)).one_or_none()
    return None if row is None else Service(**row._mapping)


def on_host(conn: Connection, host: str) -> Sequence[str]:
    """The servers of a machine."""
    prefix = f"{host}@"
    query = select(services.c.server).where(services.c.server.startswith(prefix, autoescape=True))
    return conn.execute(query.order_by(services.c.server)).scalars().all()


def disable(conn: Connection, server: str, reason: str | None) -> bool:
    """Keep requests away from a server, or let them in again with None; False when it is unknown."""
    changed = conn.execute(update(services).where(services.c.server == server).values(disabled_reason=reason))
    return bool(changed.rowcount)


def all_of(conn: Connection) -> list[Service]:
    return [Service(**row._mapping) for row in conn.execute(select(services).order_by(services.c.server))]


def limits(conn: Connection, project_id: str, default: Amount) -> Amount:
    """What a project may manage, where it differs from the default."""
    row = conn.execute(select(quotas).where(quotas.c.project_id == project_id)).one_or_none()
    if row is None:
        return default
    own = {name: value for name in ("snapshots", "gigabytes") if (value := getattr(row, name)) is not None}
    return replace(default, **own)


def queue_for_quota(conn: Connection, project_id: str) -> None:
    """Let concurrent requests of a project count one after the other, until the transaction ends."""
    conn.execute(_insert_missing(conn, project_id))
    conn.execute(select(quotas.c.project_id).where(quotas.c.project_id == project_id).with_for_update())


def _insert_missing(conn: Connection, project_id: str) -> Insert:
    match conn.dialect.name:
        case "sqlite":
            return sqlite.insert(quotas).values(project_id=project_id).on_conflict_do_nothing()
        case "postgresql":
            return postgresql.insert(quotas).values(project_id=project_id).on_conflict_do_nothing()
    return mysql.insert(quotas).values(project_id=project_id).prefix_with("IGNORE")
