"""The audit log as a chain: each entry's digest covers its content and the entry before.

A removed, inserted or changed entry breaks the chain at its place. The head, which is stored apart, shows that entries
were cut off the end. An attacker who can rewrite both is detected by a copy of the head's digest elsewhere;
`snapmanage-manage audit verify` prints the digest.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

GENESIS = "0" * 64


@dataclass(frozen=True)
class Head:
    """The end of the chain."""

    number: int
    digest: str


START = Head(0, GENESIS)


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
    def previous_generation(self) -> int | None:
        """Return the generation of the snapshot's event before this one; None for the first, and for rejected requests.

        Events of the first schema have gaps between their generations, so that their payloads name the previous one.
        """
        if "previous_generation" in (payload := self.payload):
            previous: int | None = payload["previous_generation"]
            return previous
        return self.generation - 1 if self.generation > 1 else None


def next_entry(head: Head, event_type: str, payload: Mapping[str, Any], heard_at: datetime) -> Entry:
    """Return the entry that follows `head`."""
    content = json.dumps(payload, sort_keys=True, separators=(",", ":"))
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


def first_break(entries: Iterable[Entry], head: Head) -> str | None:
    """Describe the first entry that breaks the chain, or a wrong head; return None if the chain is whole."""
    last = START
    for entry in entries:
        if entry.number != last.number + 1:
            return f"row {last.number + 1} is missing (row {entry.number} follows row {last.number})"
        if entry.previous_digest != last.digest:
            return f"row {entry.number} doesn't follow from row {last.number}"
        if entry.digest != _digest(dict(vars(entry))):
            return f"row {entry.number} was changed"
        last = Head(entry.number, entry.digest)
    if last != head:
        return f"row {last.number} is the last, but the head says {head.number}: rows were cut off, or the head changed"
    return None


@dataclass(frozen=True)
class Gap:
    """An event of one snapshot that the log lacks."""

    snapshot_id: str
    reason: str


def gaps(entries: Sequence[tuple[str, str, int, int | None]]) -> list[Gap]:
    """Return the operations that have a start and no ending, and the events whose previous event is missing.

    An entry is (snapshot_id, event_type, generation, previous_generation); they are ordered by snapshot and generation.
    """
    found: list[Gap] = []
    generations: dict[str, set[int]] = {}
    last: dict[str, tuple[str, int]] = {}
    for snapshot_id, event_type, generation, previous in entries:
        known = generations.setdefault(snapshot_id, set())
        if previous is not None and previous not in known:
            found.append(Gap(snapshot_id, f"generation {previous} is missing before {event_type} ({generation})"))
        known.add(generation)
        last[snapshot_id] = (event_type, generation)
    found += [Gap(key, f"{kind} ({at}) has no ending") for key, (kind, at) in last.items() if kind.endswith(".start")]
    return found


def _digest(columns: Mapping[str, Any]) -> str:
    covered = {name: value for name, value in columns.items() if name != "digest"}
    covered["heard_at"] = columns["heard_at"].isoformat(timespec="microseconds")
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()
