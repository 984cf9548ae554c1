"""What can't be understood, or kills: it ends in the quarantine, an event tells of it, and the queue goes on."""

import hashlib
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage.crash import VARIABLE
from snapmanage.testing.waiting import until
from tests.chaos import stories
from tests.chaos.conftest import HOST
from tests.chaos.fleet import Fleet

KEPT_BYTES = 4 * 1024**2


@pytest.fixture
def snapshot_id() -> str:
    return str(uuid.uuid4())


def request(method: str = "manage_snapshot", version: str = "1.0", **arguments: Any) -> bytes:
    content = {"method": method, "args": arguments, "version": version, "_unique_id": uuid.uuid4().hex}
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(content)}).encode()


BAD: dict[str, Callable[[str], bytes]] = {
    "not JSON": lambda key: b"\xff not JSON",
    "wrong envelope": lambda key: json.dumps({"oslo.version": "3.0", "oslo.message": "{}"}).encode(),
    "unknown method": lambda key: request("grow_snapshot", snapshot_id=key),
    "unknown version": lambda key: request(version="9.0", snapshot_id=key),
    "missing arguments": lambda key: request(),
    "too few of a new one": lambda key: request(snapshot_id=key, volume_id=key),
    "surplus arguments": lambda key: request(snapshot_id=key, speed="high"),
    "wrong types": lambda key: request(snapshot_id=key, volume_id=key, ref=7, project_id=["p"]),
    "10 MB": lambda key: request(snapshot_id=key, description="x" * 10_000_000),
    "a foreign snapshot": lambda key: request("unmanage_snapshot", snapshot_id=key),
}
REASONS = {
    "not JSON": "no oslo.messaging 2.0 envelope",
    "wrong envelope": "envelope version '3.0' is unknown",
    "unknown method": "grow_snapshot",
    "unknown version": "version 9.0",
    "missing arguments": "'snapshot_id'",
    "too few of a new one": "the message doesn't describe it",
    "surplus arguments": "'speed'",
    "wrong types": "ref must be an object",
    "10 MB": "the message has 10000246 bytes",
    "a foreign snapshot": "is unknown",
}
ANNOUNCED = BAD.keys() - {"not JSON", "wrong envelope", "missing arguments"}


@pytest.mark.parametrize("kind", BAD)
def test_bad_message_is_put_aside_announced_where_it_names_a_snapshot_and_stops_nobody(
    deployment: Fleet, snapshot_id: str, kind: str
) -> None:
    body = BAD[kind](snapshot_id)

    deployment.publish(HOST, body)
    stories.manage(deployment)()
    deployment.rest()

    kept = quarantined(deployment, body)
    assert REASONS[kind] in kept["reason"]
    if kind in ANNOUNCED:
        heard = until(lambda: events(deployment, snapshot_id), "the error event")
        assert heard == [("snapshot.unmanage.error" if b"unmanage_snapshot" in body else "snapshot.manage.error")]


def test_message_that_kills_its_server_each_time_is_put_aside_and_its_neighbours_go_on(
    deployment: Fleet, snapshot_id: str
) -> None:
    server = deployment.daemons[HOST]
    deadly = {VARIABLE: "accept-uncommitted", "OS_OPERATIONS__MAX_ATTEMPTS": "2"}
    source = deployment.storages[HOST].plant("poisoned")
    server.close()
    deployment.cast(HOST, source, snapshot_id)
    for _ in range(3):  # the first time nobody knows that it was delivered before
        server.launch(deadly)
        server.ended()

    server.start(deadly)

    until(lambda: events(deployment, snapshot_id) == ["snapshot.manage.error"], "the error event")
    with deployment.engine.connect() as conn:
        reasons = conn.execute(sa.text("SELECT reason FROM quarantine WHERE reason LIKE '%died%'")).scalars().all()
        assert len(reasons) == 1
    assert server.alive
    server.close()
    server.start()
    stories.manage(deployment)()
    deployment.rest()


def test_request_that_kills_its_driver_each_time_ends_in_error(deployment: Fleet) -> None:
    server, story = deployment.daemons[HOST], stories.manage(deployment)
    assert isinstance(story, stories.Manage)
    story.ends_as = "error"
    deadly = {VARIABLE: "renaming", "OS_OPERATIONS__MAX_ATTEMPTS": "2"}
    server.close()
    server.start(deadly)
    story()
    server.ended()
    server.launch(deadly)
    server.ended()

    server.start(deadly)

    deployment.rest()
    assert events(deployment, story.snapshot_id) == ["snapshot.manage.start", "snapshot.manage.error"]
    server.close()
    server.start()


def test_operator_lists_shows_retries_and_drops(deployment: Fleet, snapshot_id: str) -> None:
    manage = deployment.daemon("manage", HOST)
    early, garbage = request("unmanage_snapshot", snapshot_id=snapshot_id), b"garbage"
    for body in (early, garbage):
        deployment.publish(HOST, body)
    kept = {body: str(quarantined(deployment, body)["id"]) for body in (early, garbage)}
    deployment.cast(HOST, deployment.storages[HOST].plant("early"), snapshot_id)
    deployment.promises[snapshot_id] = "available"
    deployment.rest()

    listed = manage.run("quarantine", "list").stdout
    shown = json.loads(manage.run("quarantine", "show", kept[early]).stdout)
    retried = manage.run("quarantine", "retry", kept[early])
    dropped = manage.run("quarantine", "drop", kept[garbage])

    assert set(kept.values()) <= {line.split()[0] for line in listed.splitlines()}
    assert (shown["body"].encode(), shown["whole"]) == (early, True)
    assert "unknown" in shown["reason"]
    assert (retried.returncode, dropped.returncode) == (0, 0), retried.stderr + dropped.stderr
    deployment.promises[snapshot_id] = "deleted"
    deployment.rest()
    assert not set(kept.values()) & set(manage.run("quarantine", "list").stdout.split())
    for action in ("show", "retry", "drop"):
        refused = manage.run("quarantine", action, kept[early])
        assert (refused.returncode, kept[early] in refused.stderr) == (1, True)


def test_message_that_comes_back_when_it_is_sent_again_is_still_in_the_quarantine(deployment: Fleet) -> None:
    body = f"garbage {uuid.uuid4()}".encode()
    deployment.publish(HOST, body)
    kept = quarantined(deployment, body)

    retried = deployment.daemon("manage", HOST).run("quarantine", "retry", kept["id"])
    stories.manage(deployment)()
    deployment.rest()

    assert retried.returncode == 0, retried.stderr
    back = quarantined(deployment, body)
    assert back["id"] == kept["id"]
    assert back["received_at"] > kept["received_at"]


def test_message_that_was_kept_in_part_is_not_sent_again(deployment: Fleet) -> None:
    body = b"x" * (KEPT_BYTES + 1)
    deployment.publish(HOST, body)

    refused = deployment.daemon("manage", HOST).run("quarantine", "retry", str(quarantined(deployment, body)["id"]))

    assert (refused.returncode, "first 4194304 bytes" in refused.stderr) == (1, True)


def quarantined(deployment: Fleet, body: bytes) -> dict[str, Any]:
    """The only row with those bytes, or with the first of them."""
    query = sa.text("SELECT * FROM quarantine WHERE body = :body")

    def rows() -> list[dict[str, Any]]:
        with deployment.engine.connect() as conn:
            return [dict(row._mapping) for row in conn.execute(query, {"body": body[:KEPT_BYTES]})]

    [row] = until(rows, "the message to be in the quarantine")
    assert len(body) <= KEPT_BYTES or hashlib.sha256(body).hexdigest() in row["reason"]
    return row


def events(deployment: Fleet, snapshot_id: str) -> list[str]:
    query = sa.text("SELECT event_type FROM audit WHERE snapshot_id = :id ORDER BY generation")
    with deployment.engine.connect() as conn:
        return list(conn.execute(query, {"id": snapshot_id}).scalars())
