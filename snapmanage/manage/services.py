"""The servers that own backends: list, disable and enable them, and require one that accepts operations."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from snapmanage import errors
from snapmanage.core import services as rules
from snapmanage.core.services import Service
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.store import services
from snapmanage.store.engine.database import Database


@dataclass(frozen=True)
class Server:
    """A server with its state: `up` while its heartbeat is not overdue."""

    service: Service
    up: bool

    @property
    def accepts_operations(self) -> bool:
        return self.up and self.service.disabled_reason is None


def all_of(app: Application) -> list[Server]:
    """Return every server that ever had a heartbeat, by name."""
    with app.db.read() as conn:
        now, found = app.db.clock(conn), services.all_of(conn)
    return [Server(each, each.alive(now, app.rules.service_down)) for each in found]


def on_host(app: Application, host: str) -> Sequence[str]:
    """Return the names of the servers of a host, as HOST@BACKEND."""
    with app.db.read() as conn:
        return services.on_host(conn, host)


def set_disabled(db: Database, server: str, reason: str | None) -> None:
    """Disable a server for new requests, or enable it with None; raise `ServiceNotFound` for an unknown server."""

    def work(conn: Connection, now: datetime) -> None:
        if services.get(conn, server) is None:
            raise not_found(conn, server)
        services.disable(conn, server, reason)

    db.write(work)


def require(tx: Transaction, server: str) -> None:
    """Raise `ServiceNotFound` or `ServiceDown` unless a server can carry out an operation."""
    require_up(tx.conn, server, tx.now, tx.rules.service_down)


def require_up(conn: Connection, server: str, now: datetime, down_after: timedelta) -> Service:
    """Return the service of a server; raise `ServiceNotFound`, or `ServiceDown` for one that is down or disabled."""
    service = services.get(conn, server)
    if service is None:
        raise not_found(conn, server)
    return rules.require_up(service, server, now, down_after)


def not_found(conn: Connection, host: str) -> errors.ServiceNotFound:
    """Return the error for a host without a server; its text has the hosts that exist."""
    return errors.ServiceNotFound(host, [each.server for each in services.all_of(conn)])
