"""Records as rows of their tables."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Row, Table

from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status, Volume, with_fields
from snapmanage.core.reference import Reference
from snapmanage.core.values.location import Location
from snapmanage.store.mapping.tables import snapshots, volumes

R = TypeVar("R", bound=Record)

TABLES: Mapping[type[Record], Table] = {Volume: volumes, Snapshot: snapshots}
_REQUESTER = ("project_id", "user_id", "request_id", "global_request_id")
# The columns of the fields that aren't written as they are.
_COLUMNS: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {
    "requester": vars,
    "location": lambda location: {"host": str(location), "server": location.server},
    "reference": lambda reference: {"reference": reference.text},
    "status": lambda status: {"status": status.value},
    "operation": lambda operation: {"operation": operation.value},
}
_NAMES = {kind: tuple(table.columns.keys()) for kind, table in TABLES.items()}
_STATUSES = {each.value: each for each in Status}
_OPERATIONS = {each.value: each for each in Operation}
# A deployment has few hosts and many rows.
location = lru_cache(256)(Location.parse)


def to_columns(record: Record, before: Record | None = None) -> dict[str, Any]:
    """Return the values of a record by column; with `before`, only the values in which the two records differ."""
    columns, old = dict[str, Any](), vars(before) if before else {}
    for name, value in vars(record).items():
        if name in old and (value is old[name] or value == old[name]):
            continue
        if (written := _COLUMNS.get(name)) is not None:
            columns |= written(value)
        else:
            columns[name] = value
    return columns


def to_record(kind: type[R], row: Row[Any]) -> R:
    """Return the record of a whole row."""
    values = dict(zip(_NAMES[kind], row, strict=True))
    del values["server"]
    values["requester"] = Requester(*[values.pop(column) for column in _REQUESTER])
    values["location"] = location(values.pop("host"))
    values["reference"] = Reference(values["reference"])
    values["status"] = _STATUSES[values["status"]]
    values["operation"] = _OPERATIONS[values["operation"]]
    return with_fields(kind, values)
