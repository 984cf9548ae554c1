"""What must hold once a deployment has come to rest, whatever was done to it.

Everything is looked at from outside: rows by plain SQL, files in their folder, renames by inotify, the
audit log as a table. Nothing of snapmanage is imported.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from tests.chaos.storage import Storage

ENDED = ("end", "error")
ENDINGS = {"available": "snapshot.manage.end", "deleted": "snapshot.unmanage.end", "error": ".error"}
IN_PROGRESS = ("creating", "unmanaging")
BEFORE_THE_FIRST = "0" * 64


@dataclass(frozen=True)
class Observed:
    """A deployment's rows, each as a mapping of columns, and its storage."""

    snapshots: Sequence[Mapping[str, Any]]
    audit: Sequence[Mapping[str, Any]]
    outbox: int
    suspects: int
    storages: Sequence[Storage]


def observe(engine: sa.Engine, storages: Sequence[Storage]) -> Observed:
    with engine.connect() as conn:
        return Observed(
            snapshots=_rows(conn, "SELECT * FROM snapshots"),
            audit=_rows(conn, "SELECT * FROM audit ORDER BY snapshot_id, generation"),
            outbox=_count(conn, "outbox"),
            suspects=_count(conn, "suspects"),
            storages=storages,
        )


def at_rest(engine: sa.Engine) -> bool:
    """Whether nothing is under way any more, and nothing is owed to the bus."""
    waiting = (
        "SELECT (SELECT count(*) FROM outbox)"
        " + (SELECT count(*) FROM snapshots WHERE status IN ('creating', 'unmanaging'))"
        " + (SELECT count(*) FROM volumes WHERE status IN ('creating', 'unmanaging'))"
    )
    with engine.connect() as conn:
        return not conn.execute(sa.text(waiting)).scalar_one()


def lateness(engine: sa.Engine) -> timedelta:
    """For how long somebody might have taken the operation that has been due for longest, and nobody has."""
    longest = "SELECT min(due_at) AS due_at FROM snapshots WHERE status IN ('creating', 'unmanaging')"
    with engine.connect() as conn:
        due_at = conn.execute(sa.text(longest).columns(due_at=sa.DateTime())).scalar_one()
    return max(datetime.now(UTC) - due_at.replace(tzinfo=UTC), timedelta(0)) if due_at else timedelta(0)


def put_aside(engine: sa.Engine) -> list[str]:
    """What is in the quarantine, in a sentence each: nothing where nobody sent what can't be understood."""
    with engine.connect() as conn:
        rows = _rows(conn, "SELECT queue, reason FROM quarantine")
    return [f"LOST: a message of {row['queue']} is in the quarantine: {row['reason']}" for row in rows]


def violations(known: Observed, promises: Mapping[str, str]) -> list[str]:
    """Every invariant that doesn't hold, in a sentence each.

    A promise is the id of a snapshot whose request got its 202, or whose cast the broker confirmed, and
    the status in which it must end.
    """
    found = [*_unkept(known, promises), *_unsettled(known), *_owned_twice(known), *_events(known), *_chain(known)]
    for storage in known.storages:
        found += [*storage.damage(), *_objects(known, storage), *_asked(known, storage), *_renames(known, storage)]
    return found


def _unkept(known: Observed, promises: Mapping[str, str]) -> Iterator[str]:
    rows = {row["id"]: row for row in known.snapshots}
    for snapshot_id, wanted in promises.items():
        if snapshot_id not in rows:
            yield f"LOST: {snapshot_id} was promised, and is unknown"
        elif (status := rows[snapshot_id]["status"]) != wanted:
            yield f"{snapshot_id} is {status}, not {wanted}: {rows[snapshot_id]['reason']}"


def _unsettled(known: Observed) -> Iterator[str]:
    if known.outbox:
        yield f"STUCK: {known.outbox} messages are left in the outbox"
    if known.suspects:
        yield f"STUCK: {known.suspects} messages are suspected, and nobody handles them"
    for row in known.snapshots:
        if row["status"] in IN_PROGRESS:
            yield f"STUCK: {row['id']} is still {row['status']}"
        elif row["due_at"] is not None or row["claimed_by"] is not None:
            yield f"{row['id']} is settled, and claimed or due all the same"


def _owned_twice(known: Observed) -> Iterator[str]:
    owners: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in known.snapshots:
        if row["status"] == "available":
            owners[row["server"], row["backend_id"]].append(row["id"])
    yield from (f"TWICE: {key} belongs to {ids}" for key, ids in owners.items() if len(ids) > 1)


def _events(known: Observed) -> Iterator[str]:
    """One start and one ending of each operation, the first of which manages, the last as the status says; no gap."""
    heard: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in known.audit:
        if row["generation"]:  # 0 is of messages that were never understood
            heard[row["snapshot_id"]].append(row)
    for snapshot in known.snapshots:
        yield from _story(snapshot, heard[snapshot["id"]])
    yield from (f"{key} has events, and no record" for key in heard.keys() - {row["id"] for row in known.snapshots})


def _story(snapshot: Mapping[str, Any], heard: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    kinds = [row["event_type"] for row in heard]
    steps = [kind.rpartition(".")[2] for kind in kinds]
    pairs = list(zip(kinds[::2], kinds[1::2], strict=False))
    alternates = all(start.endswith(".start") and end.rpartition(".")[0] in start for start, end in pairs)
    begins = kinds[:1] in ([], ["snapshot.manage.start"])
    if len(kinds) % 2 or not alternates or not begins or any(step not in ENDED for step in steps[1::2]):
        yield f"EVENTS: {snapshot['id']} ({snapshot['status']}) has {kinds}"
    elif not kinds or not kinds[-1].endswith(ENDINGS.get(snapshot["status"], "")):
        yield f"EVENTS: {snapshot['id']} is {snapshot['status']} after {kinds}"
    generations = [row["generation"] for row in heard]
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
    """Each available one's object bears its name; each that was given back has its old one."""
    for row in known.snapshots:
        name = {"available": row["backend_name"], "deleted": row["original_name"]}.get(row["status"])
        if row["server"] != storage.server or name is None:
            continue
        inode = storage.bears(name)
        if inode is None or not str(row["backend_id"]).startswith(f"{inode}-"):
            yield f"LOST: {row['id']} is {row['status']}, but {name} isn't {row['backend_id']}"


def _asked(known: Observed, storage: Storage) -> Iterator[str]:
    """Whatever a record was bound to is what it was asked for, and as large as the record says."""
    for row in known.snapshots:
        if row["server"] != storage.server or not row["backend_id"]:
            continue
        asked = json.loads(row["reference"])["source-name"]
        planted = storage.planted.get(int(str(row["backend_id"]).partition("-")[0]))
        if planted is None or planted.name != asked or row["original_name"] != asked:
            had = planted.name if planted else "nothing that was put there"
            yield f"SWAPPED: {row['id']} asked for {asked}, and has {had} as {row['original_name']}"
        elif row["size_gb"] != planted.size_gb:
            yield f"SIZE: {row['id']} has {row['size_gb']} GB, not {planted.size_gb}"


def _renames(known: Observed, storage: Storage) -> Iterator[str]:
    """As many as operations that ended well, each once."""
    ended = {(row["snapshot_id"], row["event_type"]) for row in known.audit}
    wanted = {}
    for row in known.snapshots:
        if row["server"] == storage.server and row["backend_name"]:
            there, back = (row["original_name"], row["backend_name"]), (row["backend_name"], row["original_name"])
            wanted[there] = int((row["id"], "snapshot.manage.end") in ended)
            wanted[back] = int((row["id"], "snapshot.unmanage.end") in ended)
    seen = storage.renames()
    for move in seen.keys() | wanted.keys():
        if seen[move] != wanted.get(move, 0):
            yield f"TWICE: {move[0]} became {move[1]} {seen[move]} times, not {wanted.get(move, 0)}"


def _count(conn: sa.Connection, table: str) -> int:
    return int(conn.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())


def _rows(conn: sa.Connection, statement: str) -> list[Mapping[str, Any]]:
    return [dict(row._mapping) for row in conn.execute(sa.text(statement))]
