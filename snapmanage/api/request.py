"""The request that a handler gets, the answer that it returns, and their helpers."""

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
from snapmanage.api.waiting_lists import ListingLimits, Listings, Searches, SearchLimits
from snapmanage.bus import Bus
from snapmanage.core import idempotency
from snapmanage.core.idempotency import IdempotencyKey
from snapmanage.core.origins import protection
from snapmanage.core.reference import Reference
from snapmanage.core.values.ids import parse_uuid
from snapmanage.core.values.location import Location
from snapmanage.manage import services
from snapmanage.manage.application import Application
from snapmanage.manage.group_commit import GroupCommit


@dataclass(frozen=True)
class Limits:
    """The configured limits: entries of a page, bytes of a body, bytes of the body of a batch."""

    page: int = 1000
    body: int = 114688
    batch_body: int = 1048576


@dataclass(frozen=True)
class Service:
    """The objects that every handler works with."""

    app: Application
    bus: Bus
    limits: Limits
    authenticate: Authenticate
    policy: Policy
    listings: Listings = field(default_factory=lambda: Listings(ListingLimits()))
    searches: Searches = field(default_factory=lambda: Searches(SearchLimits()))
    group_commit: GroupCommit = field(default_factory=GroupCommit)


@dataclass(frozen=True)
class ApiRequest:
    """A parsed request; `body` has been checked against its schema.

    With `own_fields`, the caller requires the fields that the Block Storage API does not have. With `everywhere`, it
    may see and change the records of all projects, otherwise of its own project.
    """

    service: Service
    http: falcon.Request
    path: Mapping[str, str]
    caller: Caller = NOBODY
    version: Version = MINIMUM
    body: Any = None
    everywhere: bool = False
    own_fields: bool = False

    @cached_property
    def is_admin(self) -> bool:
        """Return whether the caller may see fields for administrators."""
        return self.service.policy.allows(self.caller, ADMIN)

    @property
    def visible_project(self) -> str | None:
        """Return the project whose records the caller may see; None for all projects."""
        return None if self.everywhere else self.caller.requester.project_id

    @property
    def parameters(self) -> dict[str, str]:
        """Return the query's parameters; the last value of a repeated parameter counts."""
        return {name: value if isinstance(value, str) else value[-1] for name, value in self.http.params.items()}

    @property
    def base(self) -> str:
        """Return the base URL of the project's resources, with the project id if the request had it in its path."""
        project = self.path.get("project_id")
        return f"{self.http.prefix}/v3/{project}" if project else f"{self.http.prefix}/v3"


@dataclass(frozen=True)
class Answer:
    """A response; `body` is a value to encode as JSON, encoded JSON, or None."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def find_server(request: ApiRequest, host: str) -> Location:
    """Return the location of `host@backend[#pool]`, or of a host with a single backend.

    Raise `ServiceNotFound` for an unknown host, and `InvalidRequest` for a host with several backends.
    """
    if "@" in host:
        return Location.parse(host)
    known = services.on_host(request.service.app, host)
    if not known:
        raise errors.ServiceNotFound(host, [each.service.server for each in services.all_of(request.service.app)])
    if len(known) > 1:
        choice = f"one of: {', '.join(known)}" if request.is_admin else "the backend too, as HOST@BACKEND"
        raise errors.InvalidRequest(f"host {host!r} has several backends; name {choice}")
    return Location.parse(known[0])


def common_fields(request: ApiRequest, resource: Mapping[str, Any], chosen_id: str | None = None) -> dict[str, Any]:
    """Return the fields that new volumes and new snapshots have in common.

    Raise `NotPermitted` for metadata that only an administrator may set.
    """
    protection.require_right_to_set({}, resource.get("metadata") or {}, request.is_admin)
    return {
        "id": chosen_id or str(uuid.uuid4()),
        "reference": Reference.of(resource["ref"]),
        "name": resource.get("name"),
        "description": resource.get("description"),
        "metadata": resource.get("metadata") or {},
        "requester": request.caller.requester,
        "created_at": datetime.now(UTC),
    }


def idempotency_key(request: ApiRequest, operation: str, chosen_id: str | None) -> IdempotencyKey | None:
    """Return the request's idempotency key, or None; raise `InvalidRequest` for a malformed key."""
    text = request.http.get_header(idempotency.HEADER)
    if text is None:
        return None
    return IdempotencyKey.of(request.caller.requester.project_id, text, operation, request.body, chosen_id)


def chosen_id(request: ApiRequest, header: str) -> str | None:
    """Return the id that the client has chosen for a new record, or None; raise `InvalidRequest` for another text."""
    text = request.http.get_header(header)
    return None if text is None else parse_uuid(header, text)
