"""What a vendor's driver is handed in place of Cinder's own objects: the same fields, and nothing behind them.

A driver reads a snapshot and its volume as attributes or as a dictionary. What isn't known is None, as
it is in a new object of Cinder's. This runs beside Cinder, in `child`.
"""

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

GIB = 1024**3

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAMES = uuid.UUID("7d5a7d0e-9c0c-4a52-8d0a-3a7c4f3f6f10")


class Plain:
    """Fields, by attribute and by key; a field that isn't there is an error of the kind that Cinder's objects raise."""

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
        """There is nothing to save it to."""


def volume(fields: Iterable[str], name: str | None, size_gb: int | None = None) -> Plain:
    """The volume that the backend calls `name`.

    Drivers that look a volume up by `provider_id` find its name there: it is all that is known of it.
    """
    known = {
        "id": id_of(name or ""),
        "name": name,
        "name_id": id_of(name or ""),
        "provider_id": name,
        "size": size_gb,
        "status": "available",
    }
    return Plain({**dict.fromkeys(fields), **_EMPTY, **known})


def snapshot(fields: Iterable[str], record_id: str, name: str, of: Plain) -> Plain:
    """The snapshot that a record stands for; drivers rename to its `name`, or to what they make of its `id`."""
    known = {
        "id": record_id,
        "name": name,
        "volume": of,
        "volume_id": of["id"],
        "volume_name": of["name"],
        "volume_size": of["size"],
        "status": "available",
    }
    return Plain({**dict.fromkeys(fields), **_EMPTY, **known})


_EMPTY: Mapping[str, Any] = {"metadata": {}, "display_name": "", "display_description": ""}


def id_of(name: str) -> str:
    """The UUID in a name; for a name without one, always the same made-up one."""
    within = _UUID.search(name)
    return within[0] if within else str(uuid.uuid5(_NAMES, name))
