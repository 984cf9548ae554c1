"""`snapmanage-manage audit`: list and verify the audit log."""

import re
import sqlite3
from contextlib import closing

import pytest

from tests.functional.cmd.programs import (
    VOLUME,
    Standalone,
    audit_entries,
    await_settled,
    listed,
    manage,
    manage_snapshot,
    refusal,
    register_volume,
    request_manage,
)


def execute(standalone: Standalone, *statements: str) -> None:
    with closing(sqlite3.connect(standalone.folder / "snapmanage.db")) as database, database:
        for statement in statements:
            assert database.execute(statement).rowcount


def with_a_managed_snapshot(standalone: Standalone) -> str:
    """Manage a snapshot, wait for its events, end the process, and return the head of the log."""
    manage_snapshot(standalone.start())
    audit_entries(standalone, 2)
    standalone.end()
    return manage(standalone, "audit", "head").stdout.strip()


def test_audit_log_is_listed_and_verified(standalone: Standalone) -> None:
    client = standalone.start()
    volume = register_volume(client)
    first, second = (request_manage(client, volume, f"{VOLUME}@{name}") for name in ("daily", "nowhere"))
    await_settled(client, first)
    await_settled(client, second)

    entries = audit_entries(standalone, 4)
    of_first = listed(standalone, "audit", "list", "--snapshot", first)
    newest = listed(standalone, "audit", "list", "--limit", "1")
    lines = manage(standalone, "audit", "list").stdout.splitlines()

    assert [entry["number"] for entry in entries] == [1, 2, 3, 4]
    assert {entry["snapshot_id"] for entry in entries} == {first, second}
    assert [entry["event_type"] for entry in of_first] == ["snapshot.manage.start", "snapshot.manage.end"]
    assert [entry["number"] for entry in newest] == [4]
    assert [(line.split()[0], line.split()[2]) for line in lines] == [
        (str(entry["number"]), entry["snapshot_id"]) for entry in entries
    ]
    assert re.fullmatch(r"4 rows, head 4:[0-9a-f]{64}\n", manage(standalone, "audit", "verify").stdout)


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ("UPDATE audit SET content = replace(content, 'available', 'error') WHERE number = 2", "row 2 was changed"),
        ("DELETE FROM audit WHERE number = 1", "row 1 is missing"),
        ("DELETE FROM audit WHERE number = 4", "row 3 is the last, but the head says 4"),
    ],
)
def test_verify_names_the_first_broken_row(standalone: Standalone, tampering: str, found: str) -> None:
    client = standalone.start()
    volume = register_volume(client)
    for name in ("daily", "weekly"):
        await_settled(client, request_manage(client, volume, f"{VOLUME}@{name}"))
    standalone.end()
    execute(standalone, tampering)

    verified = manage(standalone, "audit", "verify")

    assert verified.returncode == 1
    assert f"BROKEN: {found}" in verified.stdout


def test_emptied_log_does_not_verify(standalone: Standalone) -> None:
    head = with_a_managed_snapshot(standalone)
    execute(standalone, "DELETE FROM audit", "DELETE FROM audit_head")

    verified = manage(standalone, "audit", "verify", "--since", head)

    assert verified.returncode == 1
    assert verified.stdout.startswith("BROKEN: the head is missing")
    assert "head is missing" in refusal(manage(standalone, "audit", "head"))


def test_log_that_was_emptied_with_its_head_set_back_does_not_verify(standalone: Standalone) -> None:
    head = with_a_managed_snapshot(standalone)
    execute(standalone, "DELETE FROM audit", f"UPDATE audit_head SET number = 0, digest = '{'0' * 64}'")

    verified = manage(standalone, "audit", "verify", "--in-flight-seconds", "0")
    since = manage(standalone, "audit", "verify", "--since", head)

    assert (verified.returncode, since.returncode) == (2, 1)
    assert "INCOMPLETE: snapshot " in verified.stdout
    assert "BROKEN: row 2 is missing: rows were cut off\n" in since.stdout


def test_head_that_was_kept_verifies(standalone: Standalone) -> None:
    head = with_a_managed_snapshot(standalone)

    verified = manage(standalone, "audit", "verify", "--since", head)

    assert (verified.returncode, verified.stdout) == (0, f"2 rows, head {head}\n")


def test_head_without_a_digest_is_refused(standalone: Standalone) -> None:
    with_a_managed_snapshot(standalone)

    assert "NUMBER:DIGEST" in refusal(manage(standalone, "audit", "verify", "--since", "2"))


def test_event_that_was_never_announced_does_not_verify(standalone: Standalone) -> None:
    with_a_managed_snapshot(standalone)
    execute(standalone, "UPDATE snapshots SET generation = 1")

    verified = manage(standalone, "audit", "verify")

    assert verified.returncode == 3
    assert "FORGED: snapshot " in verified.stdout
