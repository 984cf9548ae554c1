"""snapmanage's own RPC methods, as oslo.messaging's dispatcher calls them.

A cast is returned as an `OperationRequest`; a call is answered by `ManageableLists`. Nothing else happens
here, so that an error of these methods means that the message can't be understood.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import oslo_messaging

from snapmanage.bus import names
from snapmanage.core.lists import manageable
from snapmanage.core.lists.filters import Page, with_next
from snapmanage.core.lists.manageable import Assessment
from snapmanage.core.lists.page_text import Fields, PageText
from snapmanage.core.records import Operation, Snapshot, Volume
from snapmanage.core.reference import Reference
from snapmanage.core.values.ids import parse_uuid
from snapmanage.core.values.location import Location
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.volume import arguments

# The methods of both dialects that do nothing but answer; they may take as long as a scan of the backend.
QUERIES = ("get_manageable_snapshots", "get_manageable_volumes")
# The entries of a list, or their text.
Answer = list[dict[str, Any]] | dict[str, Any]


@dataclass(frozen=True)
class ManageableLists:
    """The functions that return a page of a server's manageable snapshots, and of its volumes."""

    snapshots: Callable[[Page], list[Assessment]]
    volumes: Callable[[Page], list[Assessment]]


class Endpoint:
    """snapmanage's own methods, version 1.x, for one server."""

    target = oslo_messaging.Target(version=names.ACCEPTED_VERSION)

    def __init__(self, server: str, lists: ManageableLists) -> None:
        self._location = Location.parse(server)
        self._lists = lists

    def manage_snapshot(
        self,
        ctxt: Mapping[str, Any],
        snapshot_id: str,
        volume_id: str | None = None,
        ref: Any = None,
        name: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
        project_id: str | None = None,
        user_id: str | None = None,
    ) -> OperationRequest:
        """Manage a snapshot that is in the database, or a snapshot that the arguments describe completely."""
        record = None
        if volume_id is not None and ref is not None and (project_id or ctxt.get("project_id")):
            record = Snapshot(
                id=parse_uuid("snapshot_id", snapshot_id),
                volume_id=parse_uuid("volume_id", volume_id),
                location=self._location,
                reference=Reference.of(ref),
                name=arguments.text("name", name),
                description=arguments.text("description", description),
                metadata=arguments.metadata(metadata, ctxt),
                requester=arguments.requester(ctxt, project_id, user_id),
                created_at=arguments.UNDATED,
            )
        snapshot_id = parse_uuid("snapshot_id", snapshot_id)
        return OperationRequest(Snapshot, snapshot_id, Operation.MANAGE, record)

    def unmanage_snapshot(
        self, ctxt: Mapping[str, Any], snapshot_id: str, generation: int | None = None
    ) -> OperationRequest:
        """Unmanage a snapshot.

        After an unmanage that failed, a cast is a new request if its `generation` (since 1.2) is the generation of the
        latest event. Without a generation, it is a new request if its `request_id` is a new one.
        """
        return OperationRequest(
            Snapshot,
            parse_uuid("snapshot_id", snapshot_id),
            Operation.UNMANAGE,
            requester=arguments.known_requester(ctxt),
            generation=arguments.generation(generation),
        )

    def manage_volume(self, ctxt: Mapping[str, Any], volume_id: str) -> OperationRequest:
        """Register a volume that is in the database."""
        return OperationRequest(Volume, parse_uuid("volume_id", volume_id), Operation.MANAGE)

    def get_manageable_snapshots(
        self,
        ctxt: Mapping[str, Any],
        marker: Mapping[str, Any] | None = None,
        limit: int | None = None,
        offset: int | None = 0,
        sort_keys: Sequence[str] = ("reference",),
        sort_dirs: Sequence[str] = ("desc",),
        filters: Mapping[str, Any] | None = None,
        own_fields: bool = False,
        text: str | None = None,
    ) -> Answer:
        """Return manageable snapshots in the form of the API; `Filters.as_wire` writes `filters` (since 1.1).

        With `own_fields` (since 1.3), entries have the fields that the Block Storage API does not have. With `text`
        (since 1.4), return `PageText.as_wire` with these `Fields`.
        """
        page = Page.of(marker, limit, offset or 0, sort_keys or (), sort_dirs or (), filters or {})
        return _answer(self._lists.snapshots, page, own_fields, text)

    def get_manageable_volumes(
        self,
        ctxt: Mapping[str, Any],
        marker: Mapping[str, Any] | None = None,
        limit: int | None = None,
        offset: int | None = 0,
        sort_keys: Sequence[str] = ("reference",),
        sort_dirs: Sequence[str] = ("desc",),
        filters: Mapping[str, Any] | None = None,
        own_fields: bool = False,
        text: str | None = None,
    ) -> Answer:
        """Return manageable volumes like `get_manageable_snapshots` (since 1.3)."""
        page = Page.of(marker, limit, offset or 0, sort_keys or (), sort_dirs or (), filters or {})
        return _answer(self._lists.volumes, page, own_fields, text)


def _answer(page_of: Callable[[Page], list[Assessment]], page: Page, own_fields: bool, text: str | None) -> Answer:
    """Return the entries of a page, or their text with the search for one more entry."""
    if text is None:
        return [entry.as_wire(own_fields) for entry in manageable.entries(page_of(page))]
    fields, limit = Fields.of(text), page.limit
    found = page_of(with_next(page))
    return PageText.of(found[:limit], len(found) > len(found[:limit]), fields, own_fields).as_wire()
