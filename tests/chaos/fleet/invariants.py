"""The invariants of an idle deployment, which hold after any fault.

The checks look from outside: rows by plain SQL, objects and renames on the storage itself, the audit log as a table.
They import nothing from snapmanage.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from tests.chaos.fleet.storage import Storage

ENDED = ("end", "error")
ENDINGS = {"available": "snapshot.manage.end", "deleted": "snapshot.unmanage.end", "error": ".error"}
IN_PROGRESS = ("creating", "unmanaging")
BEFORE_THE_FIRST = "0" * 64


@dataclass(frozen=True)
class Observed:
    """A deployment's rows, each as a mapping of columns, its storage, and the ids of unmanaged volumes."""

    snapshots: Sequence[Mapping[str, Any]]
    audit: Sequence[Mapping[str, Any]]
    outbox: int
    suspects: int
    storages: Sequence[Storage]
    removed_volumes: Set[str] = frozenset()


def observe(engine: sa.Engine, storages: Sequence[Storage]) -> Observed:
    with engine.connect() as conn:
        return Observed(
            snapshots=_rows(conn, "SELECT * FROM snapshots"),
            audit=_rows(conn, "SELECT * FROM audit ORDER BY snapshot_id, generation"),
            outbox=_count(conn, "outbox"),
            suspects=_count(conn, "suspects"),
            storages=storages,
            removed_volumes={row["id"] for row in _rows(conn, "SELECT id FROM volumes WHERE status = 'deleted'")},
        )


def is_idle(engine: sa.Engine) -> bool:
    """Return whether no operation is in progress and the outbox is empty."""
    unfinished = (
        "SELECT (SELECT count(*) FROM outbox)"
        " + (SELECT count(*) FROM snapshots WHERE status IN ('creating', 'unmanaging'))"
        " + (SELECT count(*) FROM volumes WHERE status IN ('creating', 'unmanaging'))"
    )
    with engine.connect() as conn:
        return not conn.execute(sa.text(unfinished)).scalar_one()


def longest_overdue(engine: sa.Engine) -> timedelta:
    """Return for how long the most overdue operation has been due without a claim."""
    longest = "SELECT min(due_at) AS due_at FROM snapshots WHERE status IN ('creating', 'unmanaging')"
    with engine.connect() as conn:
        due_at = conn.execute(sa.text(longest).columns(due_at=sa.DateTime())).scalar_one()
    return max(datetime.now(UTC) - due_at.replace(tzinfo=UTC), timedelta(0)) if due_at else timedelta(0)


def quarantined(engine: sa.Engine) -> list[str]:
    """Return a sentence for each quarantined message; there is none unless a client sent an unreadable message."""
    with engine.connect() as conn:
        rows = _rows(conn, "SELECT queue, reason FROM quarantine")
    return [f"LOST: a message of {row['queue']} is in the quarantine: {row['reason']}" for row in rows]


def violations(known: Observed, promises: Mapping[str, str]) -> list[str]:
    """Return a sentence for each violated invariant.

    A promise is the id of a snapshot whose request got its 202, or whose cast the broker confirmed, and
    the status in which it must end.
    """
    found = [
        *_broken_promises(known, promises),
        *_unsettled(known),
        *_owned_twice(known),
        *_orphans(known),
        *_events(known),
        *_chain(known),
    ]
    for storage in known.storages:
        found += [
            *storage.deviations(),
            *_objects(known, storage),
            *_bindings(known, storage),
            *_renames(known, storage),
        ]
    return found


def _broken_promises(known: Observed, promises: Mapping[str, str]) -> Iterator[str]:
    rows = {row["id"]: row for row in known.snapshots}
    for snapshot_id, expected in promises.items():
        if snapshot_id not in rows:
            yield f"LOST: {snapshot_id} was promised, but has no record"
        elif (status := rows[snapshot_id]["status"]) != expected:
            yield f"{snapshot_id} is {status}, not {expected}: {rows[snapshot_id]['reason']}"


def _unsettled(known: Observed) -> Iterator[str]:
    if known.outbox:
        yield f"STUCK: {known.outbox} messages are left in the outbox"
    if known.suspects:
        yield f"STUCK: {known.suspects} redelivered messages are counted, but not handled"
    for row in known.snapshots:
        if row["status"] in IN_PROGRESS:
            yield f"STUCK: {row['id']} is still {row['status']}"
        elif row["due_at"] is not None or row["claimed_by"] is not None:
            yield f"{row['id']} is settled, but still claimed or due"


def _owned_twice(known: Observed) -> Iterator[str]:
    owners: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in known.snapshots:
        if row["status"] == "available":
            owners[row["server"], row["backend_id"]].append(row["id"])
    yield from (f"TWICE: {key} belongs to {ids}" for key, ids in owners.items() if len(ids) > 1)


def _orphans(known: Observed) -> Iterator[str]:
    for row in known.snapshots:
        if row["status"] != "deleted" and row["volume_id"] in known.removed_volumes:
            yield f"ORPHAN: {row['id']} is {row['status']}, but its volume was unmanaged"


def _events(known: Observed) -> Iterator[str]:
    """Check the events: each operation has one start and one end, manage comes first, and no event is missing."""
    events: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in known.audit:
        if row["generation"]:  # events of unreadable messages have generation 0
            events[row["snapshot_id"]].append(row)
    for snapshot in known.snapshots:
        yield from _event_sequence(snapshot, events[snapshot["id"]])
    yield from (f"{key} has events, but no record" for key in events.keys() - {row["id"] for row in known.snapshots})


def _event_sequence(snapshot: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    kinds = [row["event_type"] for row in events]
    steps = [kind.rpartition(".")[2] for kind in kinds]
    pairs = list(zip(kinds[::2], kinds[1::2], strict=False))
    alternates = all(start.endswith(".start") and end.rpartition(".")[0] in start for start, end in pairs)
    begins = kinds[:1] in ([], ["snapshot.manage.start"])
    if len(kinds) % 2 or not alternates or not begins or any(step not in ENDED for step in steps[1::2]):
        yield f"EVENTS: {snapshot['id']} ({snapshot['status']}) has {kinds}"
    elif not kinds or not kinds[-1].endswith(ENDINGS.get(snapshot["status"], "")):
        yield f"EVENTS: {snapshot['id']} is {snapshot['status']} after {kinds}"
    generations = [row["generation"] for row in events]
    if generations != list(range(1, snapshot["generation"] + 1)):
        yield f"EVENTS: {snapshot['id']} has a gap: {generations} of 1 to {snapshot['generation']}"


def _chain(known: Observed) -> Iterator[str]:
    numbers = sorted(row["number"] for row in known.audit)
    if numbers != list(range(1, len(numbers) + 1)):
        yield "the audit log's numbers have a gap"
    if len({row["event_id"] for row in known.audit}) < len(numbers):
        yield "an event is in the audit log twice"
    chained = [{"digest": BEFORE_THE_FIRST}, *sorted(known.audit, key=lambda row: row["number"])]
    for before, row in pairwise(chained):
        if row["previous_digest"] != before["digest"]:
            yield f"the audit log's chain is broken before {row['number']}"


def _objects(known: Observed, storage: Storage) -> Iterator[str]:
    """Check that an available snapshot's object has the managed name, and an unmanaged one the original name."""
    for row in known.snapshots:
        name = {"available": row["backend_name"], "deleted": row["original_name"]}.get(row["status"])
        if row["server"] != storage.server or name is None:
            continue
        if storage.key_of(name) != storage.key_in(str(row["backend_id"])):
            yield f"LOST: {row['id']} is {row['status']}, but {name} isn't {row['backend_id']}"


def _bindings(known: Observed, storage: Storage) -> Iterator[str]:
    """Check that each record is bound to the requested object, and has its size."""
    for row in known.snapshots:
        if row["server"] != storage.server or not row["backend_id"]:
            continue
        requested = json.loads(row["reference"])["source-name"]
        planted = storage.planted.get(storage.key_in(str(row["backend_id"])))
        if planted is None or planted.name != requested or row["original_name"] != requested:
            bound = planted.name if planted else "an unknown object"
            yield f"SWAPPED: {row['id']} refers to {requested}, but has {bound} as {row['original_name']}"
        elif row["size_gb"] != planted.size_gb:
            yield f"SIZE: {row['id']} has {row['size_gb']} GB, not {planted.size_gb}"


def _renames(known: Observed, storage: Storage) -> Iterator[str]:
    """Check that each successful operation renamed its object exactly once, and no other rename was done."""
    ended = {(row["snapshot_id"], row["event_type"]) for row in known.audit}
    expected = {}
    for row in known.snapshots:
        if row["server"] == storage.server and row["backend_name"]:
            there, back = (row["original_name"], row["backend_name"]), (row["backend_name"], row["original_name"])
            expected[there] = int((row["id"], "snapshot.manage.end") in ended)
            expected[back] = int((row["id"], "snapshot.unmanage.end") in ended)
    seen = storage.renames()
    for move in seen.keys() | expected.keys():
        if seen[move] != expected.get(move, 0):
            yield f"TWICE: {move[0]} became {move[1]} {seen[move]} times, not {expected.get(move, 0)}"


def _count(conn: sa.Connection, table: str) -> int:
    return int(conn.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())


def _rows(conn: sa.Connection, statement: str) -> list[Mapping[str, Any]]:
    return [dict(row) for row in conn.execute(sa.text(statement)).mappings()]
