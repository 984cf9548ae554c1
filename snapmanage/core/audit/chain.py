"""The audit log as a chain: each entry's digest covers its content and the entry before.

A removed, inserted or changed entry breaks the chain at its place. The head, which is stored apart, shows that entries
were cut off the end. An attacker who can rewrite both is detected by a copy of the head elsewhere, which
`snapmanage-manage audit head` prints, or by a signed checkpoint. Purged entries are before the base, from which the
chain continues.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from snapmanage import errors

GENESIS = "0" * 64
# Digits of the number of an entry; every database counts that far.
LONGEST_NUMBER = 18
_NUMBER = re.compile(rf"[0-9]{{1,{LONGEST_NUMBER}}}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Head:
    """The end of the chain."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Parse `NUMBER:DIGEST`; raise `InvalidRequest` for any other text."""
        number, _, digest = text.partition(":")
        if not _NUMBER.fullmatch(number) or not _DIGEST.fullmatch(digest):
            raise errors.InvalidRequest(
                f"{text[:100]!r} must have the form NUMBER:DIGEST, as `audit head` prints it, "
                "with a digest of 64 hexadecimal digits in small letters"
            )
        return cls(int(number), digest)


START = Head(0, GENESIS)


@dataclass(frozen=True)
class LogState:
    """The end of the chain, the last purged entry before its beginning, and the id of the log."""

    head: Head
    base: Head
    log_id: str


@dataclass(frozen=True)
class Entry:
    """One event as it was received; `content` is its payload as canonical JSON."""

    number: int
    event_id: str
    event_type: str
    snapshot_id: str
    generation: int
    content: str
    heard_at: datetime
    previous_digest: str
    digest: str

    @property
    def payload(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.content)
        return loaded

    @property
    def readable_payload(self) -> dict[str, Any]:
        """Return the payload, or an empty one if the content was damaged in the database, which breaks the chain."""
        try:
            payload = self.payload
        except (ValueError, RecursionError):
            return {}
        return payload if isinstance(payload, dict) else {}


def previous_generation(generation: int, payload: Mapping[str, Any]) -> int | None:
    """Return the generation of the snapshot's event before this one; None for the first, and for rejected requests.

    Events of the first schema have gaps between their generations, so that their payloads name the previous one.
    """
    named = payload.get("previous_generation", ...)
    if named is None or type(named) is int:
        return named
    return generation - 1 if generation > 1 else None


def canonical(payload: Mapping[str, Any]) -> str:
    """Return a payload as JSON in ASCII, the same for equal payloads; raise `ValueError` for NaN and Infinity."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)


def next_entry(head: Head, event_type: str, payload: Mapping[str, Any], heard_at: datetime) -> Entry:
    """Return the entry that follows `head`."""
    content = canonical(payload)
    columns: dict[str, Any] = {
        "number": head.number + 1,
        "event_id": str(payload["event_id"]),
        "event_type": event_type,
        "snapshot_id": str(payload["snapshot_id"]),
        "generation": int(payload["generation"]),
        "content": content,
        "heard_at": heard_at,
        "previous_digest": head.digest,
    }
    return Entry(**columns, digest=_digest(columns))


@dataclass
class ChainCheck:
    """Follow the chain entry by entry from `last`; `broken` describes the first break, None so far."""

    last: Head = START
    broken: str | None = None

    def follow(self, entry: Entry) -> None:
        self.broken = self.broken or _break(self.last, entry)
        self.last = Head(entry.number, entry.digest)

    def end(self, head: Head) -> str | None:
        """Return the first break; the last entry must be the one that the head names."""
        if not self.broken and self.last != head:
            self.broken = (
                f"row {self.last.number} is the last, but the head says {head.number}: "
                "rows were cut off, or the head changed"
            )
        return self.broken


def first_break(entries: Iterable[Entry], head: Head, start: Head = START) -> str | None:
    """Describe the first entry behind `start` that breaks the chain, or a wrong head; None if the chain is whole."""
    check = ChainCheck(start)
    for entry in entries:
        check.follow(entry)
        if check.broken:
            return check.broken
    return check.end(head)


def _break(last: Head, entry: Entry) -> str | None:
    if entry.number != last.number + 1:
        return f"row {last.number + 1} is missing (row {entry.number} follows row {last.number})"
    if entry.previous_digest != last.digest:
        return f"row {entry.number} doesn't follow from row {last.number}"
    return change(entry)


def change(entry: Entry) -> str | None:
    """Describe that an entry no longer has its digest; None if it has."""
    return None if entry.digest == _digest(dict(vars(entry))) else f"row {entry.number} was changed"


def exported(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of an entry as JSON values; without `digest`, their JSON is the text that it covers."""
    return dict(columns) | {"heard_at": columns["heard_at"].isoformat(timespec="microseconds")}


def _digest(columns: Mapping[str, Any]) -> str:
    covered = exported(columns)
    covered.pop("digest", None)
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()
