"""The limits that an operator sets for one backend."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BackendLimits:
    """The load on one backend and the deadlines of its driver; `snapmanage.conf` explains each option."""

    driver_calls: int = 8
    batch: int = 200
    scan_interval_seconds: float = 0.5
    inventory_ttl_seconds: float = 60.0
    driver_timeout_seconds: float = 600.0
    protect_origins: bool = True
