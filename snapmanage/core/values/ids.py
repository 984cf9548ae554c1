"""Ids: UUIDs from outside, UUIDs derived from others, and the ids that names of objects hold."""

import hashlib
import re
import uuid
from collections.abc import Iterable
from typing import Any

from snapmanage import errors
from snapmanage.core.values.text import cut

_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE)
# Characters of a UUID.
_LENGTH = 36


def parse_uuid(name: str, value: Any) -> str:
    """Return a UUID in its usual spelling, with small letters and hyphens.

    Raise `InvalidRequest`, which names the field `name`, if the value is not a UUID.
    """
    try:
        return str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError) as error:
        raise errors.InvalidRequest(f"{name} must be a UUID, not {cut(repr(value))}") from error


# The third digit of a UUID's fourth group, by the two bits that its variant leaves free.
_VARIANTS = "89ab"


def derive(namespace: str, name: str) -> str:
    """Derive a UUID from a UUID and a name: that of `uuid.uuid5`, which takes three times as long."""
    digest = hashlib.sha1(bytes.fromhex(namespace.replace("-", "")) + name.encode(), usedforsecurity=False).hexdigest()
    variant = _VARIANTS[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def own_name(name: str) -> str:
    """Return the last part of `VOLUME@NAME` or `FOLDER/NAME`: manage changes only this part."""
    return name[max(name.rfind("/"), name.rfind("@")) + 1 :]


def ids_in(name: str) -> set[str]:
    """Return the UUIDs in an object's own name, which may be ids of records.

    The name of its volume or folder doesn't count: a clone is often named after the snapshot that it was made of.
    """
    return {found.lower() for found in _ID.findall(own_name(name))}


def ids_in_any(names: Iterable[str]) -> set[str]:
    """Return the UUIDs that `ids_in` finds in any of the names; a list searches thousands of names at once."""
    long = (own_name(name) for name in names if len(name) >= _LENGTH)
    return {found.lower() for found in _ID.findall("\n".join(long))}
