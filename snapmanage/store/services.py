"""Heartbeats of the servers that own backends."""

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from snapmanage.core.services import Service
from snapmanage.store.engine import locks
from snapmanage.store.mapping.tables import services


def beat(conn: Connection, service: Service) -> None:
    """Write a server's heartbeat; a disabled server stays disabled."""
    alive = {
        "heartbeat_at": service.heartbeat_at,
        "driver": service.driver,
        "storage": service.storage,
        "protects_origins": service.protects_origins,
    }
    # The first two processes of a server may start at the same time.
    locks.lock(conn, services, {"server": service.server, "disabled_reason": None, **alive})
    conn.execute(update(services).where(services.c.server == service.server).values(alive))


def get(conn: Connection, server: str) -> Service | None:
    """Return a server. MariaDB ignores blanks at the end of a name, but no process serves a name with such blanks."""
    row = conn.execute(select(services).where(services.c.server == server)).one_or_none()
    return None if row is None or row.server != server else Service(**row._mapping)


def sharing(conn: Connection, service: Service) -> Sequence[str]:
    """Return the other servers, running or not, that serve the same storage."""
    others = (services.c.storage == service.storage) & (services.c.server != service.server)
    return conn.execute(select(services.c.server).where(others).order_by(services.c.server)).scalars().all()


def on_host(conn: Connection, host: str) -> Sequence[str]:
    """Return the servers of a host."""
    prefix = f"{host}@"
    query = select(services.c.server).where(services.c.server.startswith(prefix, autoescape=True))
    return conn.execute(query.order_by(services.c.server)).scalars().all()


def disable(conn: Connection, server: str, reason: str | None) -> bool:
    """Disable a server for requests, or enable it with None; return False if the server is unknown."""
    changed = conn.execute(update(services).where(services.c.server == server).values(disabled_reason=reason))
    return bool(changed.rowcount)


def all_of(conn: Connection) -> list[Service]:
    return [Service(**row._mapping) for row in conn.execute(select(services).order_by(services.c.server))]
