"""Initial rows of a benchmark, written in bulk, because their preparation is not measured."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from snapmanage.core.outbox import Message
from snapmanage.core.outbox import cast as cast_of
from snapmanage.core.records import Requester, Snapshot, owner_key
from snapmanage.core.reference import Reference
from snapmanage.core.values.location import Location
from snapmanage.store.mapping.tables import outbox, services, snapshots, volumes

PROJECT = "0123456789abcdef0123456789abcdef"
VOLUME = "volume-1"
CHUNK = 5000
# The servers of older rows, which don't run.
AWAY, SERVERS_AWAY = "away-{}@pool", 100
CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)
FOREVER = datetime(2100, 1, 1, tzinfo=UTC)


def derived_id(*parts: object) -> str:
    """Return an id in the form of a UUID: equal for equal parts, and distributed like random UUIDs."""
    digits = hashlib.md5(repr(parts).encode(), usedforsecurity=False).hexdigest()
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


def source_name(number: int) -> str:
    """Return the fake driver's name of a snapshot; the numbers start at 1."""
    return f"{VOLUME}-snapshot-{number}"


def add_volume(conn: Connection, server: str) -> str:
    """Write the record of the fake driver's volume, and return its id."""
    row = _row(derived_id(server, VOLUME), server, VOLUME) | {"status": "available", "generation": 1, "attempt": 1}
    row |= {"backend_id": "fake-1", "backend_name": VOLUME, "original_name": VOLUME, "size_gb": 1}
    conn.execute(volumes.insert(), row)
    return str(row["id"])


def add_heartbeat(conn: Connection, server: str) -> None:
    """Write a heartbeat that never expires, for an API without a server."""
    conn.execute(services.insert(), {"server": server, "driver": "fake", "heartbeat_at": FOREVER})


def add_requests(conn: Connection, server: str, volume_id: str, count: int) -> list[Message]:
    """Write snapshots as the API does, with their casts in the outbox; return the casts."""
    rows = [_snapshot(server, volume_id, number) for number in range(1, count + 1)]
    casts = [cast_of(_as_record(row)) for row in rows]
    for start in range(0, count, CHUNK):
        conn.execute(snapshots.insert(), rows[start : start + CHUNK])
        conn.execute(outbox.insert(), [_message(cast) for cast in casts[start : start + CHUNK]])
    return casts


def described_casts(server: str, volume_id: str, count: int) -> list[Message]:
    """Return casts that describe their snapshots, which have no records."""
    rows = [_snapshot(server, volume_id, number) for number in range(1, count + 1)]
    return [_describing_cast(row) for row in rows]


def add_managed(conn: Connection, server: str, volume_id: str, numbers: range) -> None:
    """Write snapshots that are `available` and exist on the fake backend."""
    for start in range(0, len(numbers), CHUNK):
        conn.execute(
            snapshots.insert(),
            [_managed_row(_snapshot(server, volume_id, number), number) for number in numbers[start : start + CHUNK]],
        )


def add_history(conn: Connection, server: str, volume_id: str, count: int) -> None:
    """Write `count` settled snapshots of servers that are away, with as many events in the audit log.

    As many messages wait for a stopped server.
    """
    # The SEQUENCE engine makes the rows inside MariaDB; Python would need minutes for a million.
    hexadecimal = "MD5(CONCAT('history', seq))"
    key = "SHA2(CONCAT('{}', seq), 256)"
    identity = f"INSERT(INSERT(INSERT(INSERT({hexadecimal}, 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-')"
    away = f"CONCAT('{AWAY.partition('{}')[0]}', seq MOD {SERVERS_AWAY}, '{AWAY.partition('{}')[2]}')"
    snapshot = {
        **_literals(_managed_row(_snapshot(server, volume_id, 0), 0)),
        "id": identity,
        "server": away,
        "host": away,
        "storage": away,
        "reference": "CONCAT('{\"source-name\":\"old-', seq, '\"}')",
        "backend_id": "CONCAT('old-', seq)",
        "reference_key": key.format("reference"),
        "identity_key": key.format("identity"),
        "created_at": "'2026-01-01' + INTERVAL seq SECOND",
    }
    message = {
        **_literals(_message(cast_of(_as_record(_snapshot(server, volume_id, 0))))),
        "id": identity,
        "record_id": identity,
        "target": "'elsewhere@pool'",
        "due_at": "'2100-01-01' + INTERVAL seq SECOND",
    }
    event = {
        "number": "seq",
        "event_id": identity,
        "event_type": "'snapshot.manage.end'",
        "snapshot_id": identity,
        "generation": "2",
        "content": "'{}'",
        "heard_at": "'2026-01-01' + INTERVAL seq SECOND",
        "previous_digest": key.format("previous"),
        "digest": key.format("digest"),
    }
    conn.execute(sa.text("SET SESSION unique_checks = 0"))
    conn.execute(sa.text("SET GLOBAL innodb_flush_log_at_trx_commit = 0"))  # until the rows are written
    for table, columns in (("snapshots", snapshot), ("outbox", message), ("audit", event)):
        for start in range(1, count + 1, 100_000):
            last = min(start + 99_999, count)
            names = ", ".join(f"`{name}`" for name in columns)
            values = ", ".join(columns.values()).replace(":", "\\:")
            conn.execute(sa.text(f"INSERT INTO {table} ({names}) SELECT {values} FROM seq_{start}_to_{last}"))
            conn.commit()
    conn.execute(sa.text("SET GLOBAL innodb_flush_log_at_trx_commit = 1"))
    conn.execute(sa.text("ANALYZE TABLE snapshots, outbox, audit")).close()


def _literals(row: dict[str, Any]) -> dict[str, str]:
    return dict(_sql_values(row))


def _sql_values(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in row.items():
        if value is None:
            yield name, "NULL"
        elif isinstance(value, int):
            yield name, str(value)
        elif isinstance(value, datetime):
            yield name, f"'{value:%Y-%m-%d %H:%M:%S}'"
        else:
            yield name, "'{}'" if isinstance(value, dict) else f"'{value}'"


def _row(record_id: str, server: str, name: str) -> dict[str, Any]:
    reference = Reference.named(name).text
    return {
        "id": record_id,
        "project_id": PROJECT,
        "host": server,
        "server": server,
        "reference": reference,
        "metadata": {},
        "status": "creating",
        "operation": "manage",
        "generation": 0,
        "claim_number": 0,
        "attempt": 0,
        "created_at": CREATED_AT,
        "reference_key": owner_key(server, reference),
    }


def _snapshot(server: str, volume_id: str, number: int) -> dict[str, Any]:
    row = _row(derived_id(server, number), server, source_name(number))
    return row | {"volume_id": volume_id, "size_gb": 1, "name": f"snapshot {number}"}


def _describing_cast(row: dict[str, Any]) -> Message:
    cast = cast_of(_as_record(row))
    description = {"volume_id": row["volume_id"], "ref": json.loads(row["reference"]), "name": row["name"]}
    return replace(cast, body={**cast.body, **description})


def _managed_row(row: dict[str, Any], number: int) -> dict[str, Any]:
    backend_id = f"fake-{number + 1}"
    return row | {
        "status": "available",
        "generation": 2,
        "claim_number": 1,
        "attempt": 1,
        "started_at": CREATED_AT,
        "updated_at": CREATED_AT,
        "backend_id": backend_id,
        "backend_name": f"snapshot-{row['id']}",
        "original_name": source_name(number),
        "identity_key": owner_key(row["server"], backend_id),
    }


def _as_record(row: dict[str, Any]) -> Snapshot:
    return Snapshot(
        id=row["id"],
        requester=Requester(PROJECT),
        location=Location.parse(row["host"]),
        reference=Reference(row["reference"]),
        created_at=CREATED_AT,
        volume_id=row["volume_id"],
    )


def _message(message: Message) -> dict[str, Any]:
    values = {name: vars(message)[name] for name in ("id", "record_id", "target", "name", "priority")} | {
        "kind": message.kind.value,
        "body": dict(message.body),
    }
    return values | {"context": dict(message.context), "due_at": FOREVER, "sends": 0, "created_at": CREATED_AT}
