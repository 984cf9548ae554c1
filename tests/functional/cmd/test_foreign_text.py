"""Names, tokens and messages with control characters reach no log and no terminal unescaped."""

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from snapmanage.store import records, services
from snapmanage.store.engine.database import connect
from snapmanage.store.mapping.tables import quarantine
from tests import examples
from tests.functional.client import PROJECT
from tests.functional.cmd.programs import (
    HOST,
    VOLUME,
    Standalone,
    audit_entries,
    await_settled,
    listed,
    manage,
    manage_snapshot,
    register_volume,
)

FORGED = "2026-01-01 00:00:00.000 1 ERROR snapmanage [-] forged"
HOSTILE = f"a\n{FORGED}\r\x1b[2J\x1b]0;title\a\x85\x9b\u202e\u2028\U000e0001"
ESCAPED = rf"a\n{FORGED}\r\x1b[2J\x1b]0;title\x07\x85\x9b\u202e\u2028\U000e0001"
# A control sequence of C1, which the HTTP server lets pass in a header.
TOKEN = f"user\x9b2J\x85:{PROJECT}"


def printed_lines(text: str) -> list[str]:
    """Return the lines of an output or of a log, after a check that it has nothing but printable lines."""
    lines = text.split("\n")
    assert [line for line in lines if not line.isprintable() or line.startswith(FORGED)] == []
    return lines


def test_log_of_hostile_requests_has_only_printable_lines(standalone: Standalone) -> None:
    client = standalone.start()
    client.headers["X-Auth-Token"] = TOKEN
    volume = register_volume(client)
    (standalone.backend / f"{VOLUME}@{HOSTILE}").write_text("x")

    for ref in (f"{VOLUME}@{HOSTILE}", f"{VOLUME}@missing {HOSTILE}"):
        accepted = client.manage(volume, {"source-name": ref}, name=HOSTILE, metadata={"key": HOSTILE})
        assert accepted.status_code == 202, accepted.text
        await_settled(client, accepted.json()["snapshot"]["id"])
    standalone.end()

    lines = printed_lines((standalone.folder / "snapmanage.log").read_text())
    assert any(r"user\x9b2J\x85" in line for line in lines)


def test_reason_of_a_hostile_reference_is_printable_and_the_reference_is_exact(standalone: Standalone) -> None:
    client = standalone.start()

    accepted = client.manage(register_volume(client), {"source-name": f"{VOLUME}@{HOSTILE}"}, name=HOSTILE)
    snapshot = await_settled(client, accepted.json()["snapshot"]["id"])

    [message] = client.messages(snapshot["id"])
    operation = client.operation(snapshot["id"])
    assert message["user_message"].isprintable()
    assert operation["reason"].isprintable()
    assert snapshot["name"] == HOSTILE
    assert audit_entries(standalone, 2)[-1]["reference"] == {"source-name": f"{VOLUME}@{HOSTILE}"}


def test_reconcile_prints_the_escaped_name_of_an_object(standalone: Standalone) -> None:
    client = standalone.start()
    managed = standalone.backend / f"{VOLUME}@snapshot-{manage_snapshot(client)}"
    managed.rename(managed.with_name(f"{VOLUME}@{HOSTILE}"))

    ended = manage(standalone, "reconcile")

    assert ended.returncode == 2
    assert ESCAPED in printed_lines(ended.stdout)[0]


# An older release wrote reasons unescaped.
def test_commands_escape_the_texts_of_rows(standalone: Standalone) -> None:
    standalone.start()
    standalone.end()
    write_hostile_rows(standalone.folder / "snapmanage.db")

    waiting = manage(standalone, "quarantine", "list").stdout
    shown = manage(standalone, "quarantine", "show", examples.SNAPSHOT_ID).stdout
    stuck = manage(standalone, "stuck", "--older-than", "0").stdout
    known = manage(standalone, "service", "list").stdout

    assert f"{ESCAPED}  1 bytes  {ESCAPED}\n" in waiting
    assert json.loads(shown)["reason"] == HOSTILE
    assert f"the next is at 2100-01-01T00:00:00+00:00: {ESCAPED}; " in stuck
    assert f"disabled: {ESCAPED}\n" in known
    for text in (waiting, shown, stuck, known):
        printed_lines(text)


def write_hostile_rows(file: Path) -> None:
    db = connect(f"sqlite:///{file}")
    later = datetime.fromisoformat("2100-01-01T00:00:00+00:00")

    def write(conn: Connection, now: datetime) -> None:
        row = {"id": examples.SNAPSHOT_ID, "queue": HOSTILE, "body": b"\x1b", "headers": {HOSTILE: HOSTILE}}
        conn.execute(quarantine.insert(), row | {"reason": HOSTILE, "received_at": now})
        created = now - timedelta(minutes=1)
        records.insert(conn, examples.snapshot(created_at=created, due_at=later, reason=HOSTILE))
        services.disable(conn, HOST, HOSTILE)

    db.write(write)
    db.close()


def test_audit_list_prints_every_event_on_one_printable_line(standalone: Standalone) -> None:
    manage_snapshot(standalone.start())
    audit_entries(standalone, 2)
    standalone.end()
    with closing(sqlite3.connect(standalone.folder / "snapmanage.db")) as database, database:
        database.execute(
            "UPDATE audit SET event_type = ?, content = json_set(content, '$.name', ?)", (HOSTILE, HOSTILE)
        )

    in_json = manage(standalone, "audit", "list", "-f", "json").stdout
    lines = printed_lines(manage(standalone, "audit", "list").stdout)

    entries = json.loads("".join(printed_lines(in_json)))
    assert [(entry["event_type"], entry["name"]) for entry in entries] == [(HOSTILE, HOSTILE)] * 2
    assert [ESCAPED in line for line in lines] == [True, True, False]


def test_audit_list_shows_its_own_number_and_type_whatever_the_payload_says(standalone: Standalone) -> None:
    manage_snapshot(standalone.start())
    audit_entries(standalone, 2)
    standalone.end()
    with closing(sqlite3.connect(standalone.folder / "snapmanage.db")) as database, database:
        database.execute("UPDATE audit SET content = json_set(content, '$.number', 9, '$.event_type', 'forged')")

    entries = listed(standalone, "audit", "list")

    assert [(each["number"], each["event_type"]) for each in entries] == [
        (1, "snapshot.manage.start"),
        (2, "snapshot.manage.end"),
    ]


@pytest.mark.parametrize("command", ["show", "drop"])
def test_error_that_repeats_a_hostile_argument_is_one_printable_line(standalone: Standalone, command: str) -> None:
    standalone.start()

    ended = manage(standalone, "quarantine", command, HOSTILE)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"argument 5, '{ESCAPED}', must be printable text" in ended.stderr
    assert len(printed_lines(ended.stderr)) == 2
