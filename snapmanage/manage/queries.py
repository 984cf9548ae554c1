"""Queries of the API: records that the caller may see, pages of lists, and the servers that own backends.

`project_id` limits a query to a project; None stands for every project.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from snapmanage import errors
from snapmanage.core.audit.chain import Entry
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.records import Record, Snapshot, Volume
from snapmanage.core.usermessages import UserMessage
from snapmanage.core.values.sizes import fitting
from snapmanage.manage import services as servers
from snapmanage.manage.application import Application
from snapmanage.store import records, summary, usermessages
from snapmanage.store.audit import log
from snapmanage.store.paging import RECORD_LENGTH

__all__ = [
    "Page",
    "VolumeSummary",
    "audit_entries",
    "list_records",
    "list_user_messages",
    "require_up",
    "snapshot",
    "user_message",
    "volume",
    "volume_summary",
]

# Each attempt to unmanage a snapshot adds two events.
SHOWN_EVENTS = 100
# Bytes of their contents. An event of 4 MiB has up to 12 MiB, and any client that may publish chooses its content.
SHOWN_BYTES = 4 * 1024**2
# Seconds in which the database must answer each statement of a list.
LIST_SECONDS = 60.0
# Characters of the records or messages on a page as JSON. The answer, and the objects that it is made of, need five
# times as many bytes, most threads may make answers at the same time, and a page may have thousands of records.
LARGEST_PAGE = 4 * 1024**2
T = TypeVar("T")
R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Page(Generic[T]):
    """A page of a list; `total` is the number of entries on all pages, if the caller requires it."""

    entries: Sequence[T]
    has_next: bool
    total: int | None = None


@dataclass(frozen=True)
class VolumeSummary:
    """The number and the size of volumes, and each key of their metadata with its values."""

    count: int
    size_gb: int
    metadata: Mapping[str, Sequence[str]] = field(default_factory=dict)


def snapshot(app: Application, snapshot_id: str, project_id: str | None) -> Snapshot:
    """Return a snapshot; raise `SnapshotNotFound` if it is unknown or belongs to another project."""
    found = _record(app, Snapshot, snapshot_id, project_id)
    if found is None:
        raise errors.SnapshotNotFound(snapshot_id)
    return found


def volume(app: Application, volume_id: str, project_id: str | None) -> Volume:
    """Return a volume; raise `VolumeNotFound` if it is unknown or belongs to another project."""
    found = _record(app, Volume, volume_id, project_id)
    if found is None:
        raise errors.VolumeNotFound(volume_id)
    return found


def audit_entries(app: Application, snapshot_id: str) -> list[Entry]:
    """Return a snapshot's newest entries in the audit log, by generation."""
    with app.db.read() as conn:
        return log.of_snapshot(conn, snapshot_id, SHOWN_EVENTS, SHOWN_BYTES)


def list_records(app: Application, kind: type[R], query: ListQuery, with_total: bool = False) -> Page[R]:
    """Return a page of records; raise `InvalidRequest` if the list has no entry with the marker's id, or `SlowList`."""
    # Otherwise records that are deleted between the statements could leave an empty page, without a link to the next.
    with app.db.read(at_one_moment=True, statement_seconds=LIST_SECONDS) as conn:
        sizes = records.page_sizes(conn, kind, _with_next(query))
        record_ids = fitting(sizes[: query.limit], LARGEST_PAGE)
        found = records.shown(conn, kind, record_ids)
        total = records.count(conn, kind, query) if with_total else None
    return Page(found, len(sizes) > len(record_ids), total)


def volume_summary(app: Application, project_id: str | None, with_metadata: bool) -> VolumeSummary:
    """Return the number and the size of volumes, and the values of each key of their metadata.

    Raise `InvalidRequest` if the metadata have more than `LARGEST_PAGE` characters, or `SlowList`.
    """
    with app.db.read(at_one_moment=True, statement_seconds=LIST_SECONDS) as conn:
        count, size_gb, characters = summary.totals(conn, project_id)
        if not with_metadata:
            return VolumeSummary(count, size_gb)
        if characters > LARGEST_PAGE:
            raise errors.InvalidRequest(
                f"the metadata of the volumes have {characters} characters; the limit of a summary is {LARGEST_PAGE}, "
                "so request it with a microversion below 3.36, which leaves them out"
            )
        values: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for key, value in (pair for each in summary.metadata(conn, project_id) for pair in each.items()):
            values[key][value] = None
    return VolumeSummary(count, size_gb, {key: list(each) for key, each in values.items()})


def user_message(app: Application, message_id: str, project_id: str | None) -> UserMessage:
    """Return a user message; raise `MessageNotFound` if it is unknown or belongs to another project."""
    with app.db.read() as conn:
        found = usermessages.get(conn, project_id, message_id)
    if found is None:
        raise errors.MessageNotFound(message_id)
    return found


def list_user_messages(app: Application, query: ListQuery) -> Page[UserMessage]:
    """Return a page of user messages; raise `InvalidRequest` for a marker that is not in the list, or `SlowList`."""
    with app.db.read(statement_seconds=LIST_SECONDS) as conn:
        found = usermessages.list_page(conn, _with_next(query))
    sizes = [(each.id, RECORD_LENGTH + len(json.dumps(each.text))) for each in found[: query.limit]]
    shown = found[: len(fitting(sizes, LARGEST_PAGE))]
    return Page(shown, len(found) > len(shown))


def require_up(app: Application, server: str) -> None:
    """Raise `ServiceNotFound` for an unknown server, and `ServiceDown` for one that is down or disabled."""
    with app.db.read() as conn:
        now = app.db.clock(conn)
        servers.require_up(conn, server, now, app.rules.service_down)


def _record(app: Application, kind: type[R], record_id: str, project_id: str | None) -> R | None:
    with app.db.read() as conn:
        found = records.get(conn, kind, record_id)
    visible = found is not None and project_id in (None, found.requester.project_id)
    return found if visible else None


def _with_next(query: ListQuery) -> ListQuery:
    """Return the query with one more entry, which shows whether there is a next page."""
    return replace(query, limit=query.limit + 1)
