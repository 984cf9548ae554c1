"""What a handler gets and returns."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import falcon

from snapmanage import errors
from snapmanage.api.access.callers import NOBODY, Authenticate, Caller
from snapmanage.api.access.policy import ADMIN, Policy
from snapmanage.api.versions import MINIMUM, Version
from snapmanage.bus import Bus
from snapmanage.core import idempotency, outbox
from snapmanage.core.idempotency import IdempotencyKey
from snapmanage.core.location import Location
from snapmanage.core.records import Record, Requester
from snapmanage.core.reference import Reference
from snapmanage.manage.application import Application
from snapmanage.store import services


@dataclass(frozen=True)
class Limits:
    """What the configuration bounds; bodies in bytes."""

    page: int = 1000
    body: int = 114688


@dataclass(frozen=True)
class Service:
    """What every handler works with."""

    app: Application
    bus: Bus
    limits: Limits
    authenticate: Authenticate
    policy: Policy


@dataclass(frozen=True)
class ApiRequest:
    """One request, understood as far as all handlers need it; `body` is checked by its schema."""

    service: Service
    http: falcon.Request
    path: Mapping[str, str]
    caller: Caller = NOBODY
    version: Version = MINIMUM
    body: Any = None

    @property
    def app(self) -> Application:
        return self.service.app

    @property
    def requester(self) -> Requester:
        return self.caller.requester

    @cached_property
    def administers(self) -> bool:
        """Whether the caller is shown what only administrators are."""
        return self.service.policy.allows(self.caller, ADMIN)

    @property
    def everywhere(self) -> bool:
        """Whether the caller sees every project's records."""
        return self.service.policy.everywhere(self.caller)

    def sees(self, record: Record) -> bool:
        """Whether a record is there for this caller."""
        return record.requester.project_id == self.requester.project_id or self.everywhere

    @property
    def parameters(self) -> dict[str, str]:
        """The query's parameters; of one that is given several times, the last counts."""
        return {name: value if isinstance(value, str) else value[-1] for name, value in self.http.params.items()}

    @property
    def base(self) -> str:
        """The URL that this project's resources are under, with the project where the request had it there."""
        project = self.path.get("project_id")
        return f"{self.http.prefix}/v3/{project}" if project else f"{self.http.prefix}/v3"


@dataclass(frozen=True)
class Answer:
    """`body` is what JSON is made of, or JSON that was made already, or None."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def find_server(call: ApiRequest, host: str) -> Location:
    """Where `host` points: `host@backend[#pool]`, or a bare host where it has one backend.

    `ServiceNotFound`, or `InvalidRequest` where a bare host has several.
    """
    if "@" in host:
        return Location.parse(host)
    with call.app.db.read() as conn:
        known = services.on_host(conn, host)
    if not known:
        raise errors.ServiceNotFound(host)
    if len(known) > 1:
        raise errors.InvalidRequest(f"host {host!r} has several backends, name one of: {', '.join(known)}")
    return Location.parse(known[0])


def asked_fields(call: ApiRequest, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a new record that every checked body says in the same way."""
    return {
        "id": str(uuid.uuid4()),
        "reference": Reference.of(wanted["ref"]),
        "name": wanted.get("name"),
        "description": wanted.get("description"),
        "metadata": wanted.get("metadata") or {},
        "requester": call.requester,
        "created_at": datetime.now(UTC),
    }


def key(call: ApiRequest, operation: str) -> IdempotencyKey | None:
    """Under which a client may send this request again, if it wants to; `InvalidRequest` where it can't be one."""
    text = call.http.get_header(idempotency.HEADER)
    return None if text is None else IdempotencyKey.of(call.requester.project_id, text, operation, call.body)


def rpc_context(call: ApiRequest) -> dict[str, Any]:
    return outbox.context(call.requester)


def wire_time(moment: datetime | None) -> str | None:
    """A time as the Block Storage API writes it: UTC, without saying so."""
    return None if moment is None else moment.replace(tzinfo=None).isoformat(timespec="microseconds")
