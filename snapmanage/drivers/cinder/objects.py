"""Stand-ins for Cinder's volumes and snapshots, as arguments of a vendor driver: the same fields, without a database.

A driver reads a snapshot and its volume by attribute or by key. Unknown fields are None, as in a new object of Cinder.
This module runs beside Cinder, in `child`.
"""

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAMES = uuid.UUID("7d5a7d0e-9c0c-4a52-8d0a-3a7c4f3f6f10")
_EMPTY: Mapping[str, Any] = {"metadata": {}, "display_name": "", "display_description": ""}


class StandIn:
    """Fields by attribute and by key; a missing field raises the same error as Cinder's objects do."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.__dict__.update(fields)

    def __getitem__(self, key: str) -> Any:
        return self.__dict__[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.__dict__[key] = value

    def __contains__(self, key: object) -> bool:
        return key in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def get(self, key: str, default: Any = None) -> Any:
        return self.__dict__.get(key, default)

    def keys(self) -> Iterable[str]:
        return self.__dict__.keys()

    def update(self, fields: Mapping[str, Any]) -> None:
        self.__dict__.update(fields)

    def save(self) -> None:
        """Do nothing: no database is behind the object."""


def volume(fields: Iterable[str], name: str | None, size_gb: int | None = None) -> StandIn:
    """Return the volume of that name on the backend.

    `provider_id` is the name too, since some drivers look a volume up by it.
    """
    known = {
        "id": id_of(name or ""),
        "name": name,
        "name_id": id_of(name or ""),
        "provider_id": name,
        "size": size_gb,
        "status": "available",
    }
    return StandIn({**dict.fromkeys(fields), **_EMPTY, **known})


def snapshot(fields: Iterable[str], record_id: str, name: str, parent: StandIn) -> StandIn:
    """Return the snapshot of a record; drivers rename to its `name`, or to a name made of its `id`."""
    known = {
        "id": record_id,
        "name": name,
        "volume": parent,
        "volume_id": parent["id"],
        "volume_name": parent["name"],
        "volume_size": parent["size"],
        "status": "available",
    }
    return StandIn({**dict.fromkeys(fields), **_EMPTY, **known})


def id_of(name: str) -> str:
    """Return the UUID in a name; for a name without one, a UUID derived from the name."""
    within = _UUID.search(name)
    return within[0] if within else str(uuid.uuid5(_NAMES, name))
