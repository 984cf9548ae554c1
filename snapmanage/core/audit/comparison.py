"""Compare an event with another one of the same id, and with the record that announced it."""

from collections.abc import Mapping, Sequence
from typing import Any

from snapmanage.core import events
from snapmanage.core.audit.chain import canonical
from snapmanage.core.events import Step
from snapmanage.core.maintenance.hosts import PastMove, former_servers
from snapmanage.core.records import Snapshot, Status
from snapmanage.core.values.location import Location

EVENT_TYPE = "event_type"
# The event of a rejected request is derived from the message, which a client may send again later.
_TIMES_OF_REJECTIONS = {"occurred_at"}
# No change of a settled record alters these fields without a new event; it may alter names, metadata and size.
_FIXED = (
    "snapshot_id",
    "volume_id",
    "project_id",
    "user_id",
    "request_id",
    "host",
    "reference",
    "backend_name",
    "status",
    "reason",
    "created_at",
    "backend_created_at",
    "deleted",
)
# The types of a record's latest event while its next one is not announced.
_WHILE_IN_PROGRESS = {
    Status.CREATING: ("snapshot.manage.start",),
    Status.UNMANAGING: (
        "snapshot.manage.end",
        "snapshot.manage.error",
        "snapshot.unmanage.start",
        "snapshot.unmanage.error",
    ),
}


def differing(first_type: str, first: Mapping[str, Any], second_type: str, second: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields in which two events of one id differ; none of them may."""
    ignored = _TIMES_OF_REJECTIONS if first.get("generation") == second.get("generation") == 0 else set[str]()
    names = sorted((first.keys() | second.keys()) - ignored)
    found = [name for name in names if not _same(first, second, name)]
    return [EVENT_TYPE, *found] if first_type != second_type else found


def contradictions(
    record: Snapshot, event_type: str, payload: Mapping[str, Any], moves: Sequence[PastMove] = ()
) -> list[str]:
    """Return the names of the fields in which an event of the record's generation contradicts the record.

    An event from the time before one of the `moves` names the earlier host.
    """
    if record.status.in_progress:
        return [] if event_type in _WHILE_IN_PROGRESS[record.status] else [EVENT_TYPE]
    step = Step.ERROR if record.status is Status.ERROR else Step.END
    announced = events.announce(record, step, record.updated_at or record.created_at)
    found = [name for name in _FIXED if name in payload and not _same(announced.payload, payload, name)]
    if moves and "host" in found and _is_former_host(record.location, payload["host"], moves):
        found.remove("host")
    return [EVENT_TYPE, *found] if event_type != announced.event_type else found


def _is_former_host(location: Location, host: Any, moves: Sequence[PastMove]) -> bool:
    """Return whether a host had the records of a location before a move, with the same pool."""
    server, _, pool = str(host).partition("#")
    return (pool or None) == location.pool and server in former_servers(moves, location.server)


def _same(first: Mapping[str, Any], second: Mapping[str, Any], name: str) -> bool:
    """Compare as JSON does: in Python, `True`, `1` and `1.0` are equal."""
    if name not in first or name not in second:
        return False
    if type(first[name]) is type(second[name]) is str:
        return bool(first[name] == second[name])
    return canonical({name: first[name]}) == canonical({name: second[name]})
