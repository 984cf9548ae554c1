"""Records as rows of their tables."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Row, Table

from snapmanage.core.lifecycle import Change
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status, Volume
from snapmanage.core.reference import Reference
from snapmanage.core.values.location import Location
from snapmanage.store.mapping.tables import snapshots, volumes

R = TypeVar("R", bound=Record)

TABLES: Mapping[type[Record], Table] = {Volume: volumes, Snapshot: snapshots}
_REQUESTER = ("project_id", "user_id", "request_id", "global_request_id")
# A deployment has few hosts and many rows.
location = lru_cache(256)(Location.parse)


def to_columns(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return fields of a record, each a pair of a name and a value, as values by column."""
    columns: dict[str, Any] = {}
    for name, value in fields:
        match value:
            case Requester():
                columns |= vars(value)
            case Location():
                columns |= {"host": str(value), "server": value.server}
            case Reference():
                columns[name] = value.text
            case Status() | Operation():
                columns[name] = value.value
            case _:
                columns[name] = value
    return columns


def differences(change: Change[Record]) -> dict[str, Any]:
    """Return the columns whose values a change replaces, with the new values."""
    before = vars(change.before)
    fields = vars(change.after).items()
    return to_columns((name, value) for name, value in fields if value is not before[name] and value != before[name])


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
