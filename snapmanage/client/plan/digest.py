"""The digest of a scan, by which an unchanged backend is recognised without a comparison of each entry."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from snapmanage.client.selection.found import Found


@dataclass(frozen=True)
class ScanDigest:
    """The number of entries of a scan, and a digest of their facts in sorted order."""

    entries: int
    digest: str

    def as_json(self) -> dict[str, Any]:
        return {"entries": self.entries, "digest": self.digest}


class ScanHash:
    """Calculates a `ScanDigest` while the entries pass by in sorted order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._entries = 0

    def add(self, found: Found) -> None:
        self._entries += 1
        self._hash.update(json.dumps(facts(found)).encode() + b"\n")

    def result(self) -> ScanDigest:
        return ScanDigest(self._entries, f"sha256:{self._hash.hexdigest()}")


def facts(found: Found) -> list[Any]:
    """Return the facts of an entry that a plan relies on."""
    at = found.created_at.isoformat() if found.created_at else None
    return [found.name, found.parent, found.identity, found.size_gb, at, found.reason_not_safe, found.rename]
