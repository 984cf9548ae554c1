"""The servers that own backends, as their heartbeats show them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from snapmanage import errors


@dataclass(frozen=True)
class Service:
    """One server, `host@backend`; `driver` is the name of its backend's driver, `storage` its `storage_id`."""

    server: str
    driver: str
    heartbeat_at: datetime
    disabled_reason: str | None = None
    storage: str | None = None

    def alive(self, now: datetime, down_after: timedelta) -> bool:
        return self.heartbeat_at + down_after > now


def require_up(service: Service | None, server: str, now: datetime, down_after: timedelta) -> Service:
    """Return the service of a server if it can accept operations.

    Raise `ServiceNotFound` if the server never had a heartbeat, `ServiceDown` if it is disabled or overdue.
    """
    if service is None:
        raise errors.ServiceNotFound(server)
    if service.disabled_reason is not None:
        raise errors.ServiceDown(server, f"is disabled: {service.disabled_reason or 'no reason was given'}")
    if not service.alive(now, down_after):
        raise errors.ServiceDown(server, f"is down: its last heartbeat is of {service.heartbeat_at:%Y-%m-%dT%H:%M:%SZ}")
    return service
