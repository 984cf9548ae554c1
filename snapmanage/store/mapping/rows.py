"""Records as rows of their tables."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Row, Table

from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status, Volume
from snapmanage.core.reference import Reference
from snapmanage.core.values.location import Location
from snapmanage.store.mapping.tables import snapshots, volumes

R = TypeVar("R", bound=Record)

TABLES: Mapping[type[Record], Table] = {Volume: volumes, Snapshot: snapshots}
_REQUESTER = ("project_id", "user_id", "request_id", "global_request_id")
# A deployment has few hosts and many rows.
location = lru_cache(256)(Location.parse)


def to_columns(record: Record, before: Record | None = None) -> dict[str, Any]:
    """Return the values of a record by column; with `before`, only the values in which the two records differ."""
    columns: dict[str, Any] = {}
    old = vars(before) if before else {}
    for name, value in vars(record).items():
        if name in old and (value is old[name] or value == old[name]):
            continue
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
