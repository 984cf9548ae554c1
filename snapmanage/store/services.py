"""Heartbeats of the servers that own backends."""

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from snapmanage.core.services import Service
from snapmanage.store.engine import locks
from snapmanage.store.tables import services


def beat(conn: Connection, service: Service) -> None:
    """Note that a server is alive; whether it is disabled stays as it was."""
    alive = {"heartbeat_at": service.heartbeat_at, "driver": service.driver, "storage": service.storage}
    # Two processes of one server may come up together, and be its first.
    locks.lock(conn, services, {"server": service.server, "disabled_reason": None, **alive})
    conn.execute(update(services).where(services.c.server == service.server).values(alive))


def get(conn: Connection, server: str) -> Service | None:
    row = conn.execute(select(services).where(services.c.server == server)).one_or_none()
    return None if row is None else Service(**row._mapping)


def sharing(conn: Connection, service: Service) -> Sequence[str]:
    """Return the other servers, running or not, that serve the same storage."""
    others = (services.c.storage == service.storage) & (services.c.server != service.server)
    return conn.execute(select(services.c.server).where(others).order_by(services.c.server)).scalars().all()


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
