"""Records as rows of their tables."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Row, Table

from snapmanage.core.lifecycle import Change
from snapmanage.core.location import Location
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status, Volume
from snapmanage.core.reference import Reference
from snapmanage.store.tables import snapshots, volumes

R = TypeVar("R", bound=Record)

TABLES: Mapping[type[Record], Table] = {Volume: volumes, Snapshot: snapshots}
_REQUESTER = ("project_id", "user_id", "request_id", "global_request_id")
# A deployment has few hosts and many rows.
location = lru_cache(256)(Location.parse)


def to_row(record: Record) -> dict[str, Any]:
    """Return the values of a record by column."""
    return {column: value for field, kept in vars(record).items() for column, value in _columns(field, kept).items()}


def differences(change: Change[Record]) -> dict[str, Any]:
    """Return the columns whose values a change replaces, with the new values."""
    before = vars(change.before)
    fields = vars(change.after).items()
    changed = [(name, value) for name, value in fields if value is not before[name] and value != before[name]]
    return {column: value for name, value in changed for column, value in _columns(name, value).items()}


def to_record(kind: type[R], row: Row[Any]) -> R:
    """Return the record of a whole row."""
    values = dict(zip(row._fields, row, strict=True))
    del values["server"]
    requester = Requester(**{column: values.pop(column) for column in _REQUESTER})
    host = values.pop("host")
    return kind(
        **{
            **values,
            "requester": requester,
            "location": location(host),
            "reference": Reference(values["reference"]),
            "status": Status(values["status"]),
            "operation": Operation(values["operation"]),
        }
    )


def _columns(field: str, value: Any) -> dict[str, Any]:
    """Return a field of a record as columns with their values."""
    match value:
        case Requester():
            return dict(vars(value))
        case Location():
            return {"host": str(value), "server": value.server}
        case Reference():
            return {field: value.text}
        case Status() | Operation():
            return {field: value.value}
    return {field: value}
