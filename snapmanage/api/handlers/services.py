"""Handlers of the servers that own backends: list, disable and enable them; their pools and availability zone.

The field's clients know the binary of these servers as `cinder-volume`.
"""

import importlib.metadata
import logging
from typing import Any

from snapmanage import errors
from snapmanage.api import defaults, schemas, versions
from snapmanage.api.request import Answer, ApiRequest, find_server
from snapmanage.core.values.logfields import fields
from snapmanage.core.values.text import time_text
from snapmanage.manage import services
from snapmanage.manage.services import Server

LOG = logging.getLogger(__name__)

BINARY = "cinder-volume"
# Both names of the binary are understood.
BINARIES = (BINARY, "snapmanage-volume")


def index(request: ApiRequest) -> Answer:
    """Handle `GET /os-services`."""
    host, binary = request.parameters.get("host"), request.parameters.get("binary") or BINARY
    found = services.all_of(request.service.app) if binary in BINARIES else []
    shown = [_view(request, each) for each in found if not host or _is_on(each, host)]
    return Answer(200, {"services": shown})


def enable(request: ApiRequest) -> Answer:
    """Handle `PUT /os-services/enable`."""
    return _set_disabled(request, None)


def disable(request: ApiRequest) -> Answer:
    """Handle `PUT /os-services/disable`."""
    return _set_disabled(request, "")


def disable_with_reason(request: ApiRequest) -> Answer:
    """Handle `PUT /os-services/disable-log-reason`."""
    reason = request.body["disabled_reason"].strip()
    if not reason:
        raise errors.InvalidRequest("disabled_reason must have a character that is not a blank; name the reason")
    answer = _set_disabled(request, reason)
    return Answer(200, answer.body | {"disabled_reason": reason})


def pools(request: ApiRequest) -> Answer:
    """Handle `GET /scheduler-stats/get_pools`: one pool for each server that accepts operations."""
    name = request.parameters.get("name") if request.version >= versions.POOL_FILTERS else None
    detail = schemas.boolean(request.parameters, "detail")
    working = [each for each in services.all_of(request.service.app) if each.accepts_operations]
    shown = [_pool(each, bool(detail)) for each in working]
    return Answer(200, {"pools": [each for each in shown if name in (None, each["name"])]})


def zones(request: ApiRequest) -> Answer:
    """Handle `GET /os-availability-zone`: one zone, available while a server accepts operations."""
    available = any(each.accepts_operations for each in services.all_of(request.service.app))
    return Answer(200, {"availabilityZoneInfo": [{"zoneName": defaults.ZONE, "zoneState": {"available": available}}]})


def _set_disabled(request: ApiRequest, reason: str | None) -> Answer:
    host, binary = request.body["host"], request.body["binary"]
    if binary not in BINARIES:
        raise errors.ServiceNotFound(host, binary=binary)
    server = find_server(request, host).server
    services.set_disabled(request.service.app.db, server, reason)
    LOG.info("Server %s: %s", "enabled" if reason is None else "disabled", fields(server=server, reason=reason or None))
    state = {"status": "enabled" if reason is None else "disabled", "disabled": reason is not None}
    return Answer(200, {"host": host, "service": "", "binary": binary, **state})


def _is_on(server: Server, host: str) -> bool:
    """Return whether a server is `host`, which is HOST@BACKEND or a HOST with any backend."""
    return host in (server.service.server, server.service.server.partition("@")[0])


def _view(request: ApiRequest, server: Server) -> dict[str, Any]:
    service, state = server.service, "up" if server.up else "down"
    view: dict[str, Any] = {
        "binary": BINARY,
        "host": service.server,
        "zone": defaults.ZONE,
        "status": "enabled" if service.disabled_reason is None else "disabled",
        "state": state,
        "updated_at": time_text(service.heartbeat_at),
        "disabled_reason": service.disabled_reason or None,
        "replication_status": "disabled",
        "active_backend_id": None,
        "frozen": False,
    }
    view |= {"cluster": None} if request.version >= versions.SERVICE_CLUSTER else {}
    return view | ({"backend_state": state} if request.version >= versions.BACKEND_STATE else {})


def _pool(server: Server, detail: bool) -> dict[str, Any]:
    """Return the pool of a server; a backend without pools is its own pool. No driver reports its capacity."""
    service = server.service
    backend = service.server.partition("@")[2]
    pool: dict[str, Any] = {"name": f"{service.server}#{backend}"}
    if not detail:
        return pool
    heartbeat = time_text(service.heartbeat_at)
    return pool | {
        "capabilities": {
            "volume_backend_name": backend,
            "vendor_name": "snapmanage",
            "driver_version": importlib.metadata.version("snapmanage"),
            "storage_protocol": service.driver,
            "backend_state": "up",
            "total_capacity_gb": "unknown",
            "free_capacity_gb": "unknown",
            "reserved_percentage": 0,
            "QoS_support": False,
            "multiattach": False,
            "thin_provisioning_support": False,
            "timestamp": heartbeat,
            "updated": heartbeat,
        }
    }
