"""Ids: UUIDs from outside, UUIDs derived from others, and the ids that names of objects hold."""

import re
import uuid
from typing import Any

from snapmanage.core.reference import Reference

_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE)


def uuid_text(value: Any) -> str | None:
    """Return a UUID in its usual spelling, with small letters and hyphens; None if the value is not a UUID."""
    try:
        return str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError):
        return None


def is_uuid(value: Any) -> bool:
    """Return whether the value is a UUID in its usual spelling."""
    return isinstance(value, str) and uuid_text(value) == value


def derive(namespace: str, name: str) -> str:
    """Derive a UUID from a UUID and a name; equal arguments give equal UUIDs."""
    return str(uuid.uuid5(uuid.UUID(namespace), name))


def own_name(name: str) -> str:
    """Return the last part of `VOLUME@NAME` or `FOLDER/NAME`: manage changes only this part."""
    return re.split("[/@]", name)[-1]


def ids_in(name: str) -> set[str]:
    """Return the UUIDs in an object's own name, which may be ids of records.

    The name of its volume or folder doesn't count: a clone is often named after the snapshot that it was made of.
    """
    return {found.lower() for found in _ID.findall(own_name(name))}


def ids_in_reference(reference: Reference) -> set[str]:
    """Return the UUIDs in the names that a reference has under any key."""
    return {found for name in reference.value.values() if isinstance(name, str) for found in ids_in(name)}
