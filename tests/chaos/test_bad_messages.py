"""An unreadable or deadly message is quarantined and announced, and its queue continues."""

import hashlib
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage.crash import VARIABLE
from snapmanage.testing.waiting import until
from tests.chaos import actions
from tests.chaos.fleet.fleet import Fleet
from tests.chaos.fleet.machines import HOST

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
    "too few arguments for a new snapshot": lambda key: request(snapshot_id=key, volume_id=key),
    "surplus arguments": lambda key: request(snapshot_id=key, speed="high"),
    "wrong types": lambda key: request(snapshot_id=key, volume_id=key, ref=7, project_id=["p"]),
    "2 MB": lambda key: request(snapshot_id=key, description="x" * 2_000_000),
    "10 MB": lambda key: request(snapshot_id=key, description="x" * 10_000_000),
    "a foreign snapshot": lambda key: request("unmanage_snapshot", snapshot_id=key),
}
REASONS = {
    "not JSON": "not an oslo.messaging 2.0 envelope",
    "wrong envelope": "envelope version '3.0' is not supported",
    "unknown method": "grow_snapshot",
    "unknown version": "version 9.0",
    "missing arguments": "'snapshot_id'",
    "too few arguments for a new snapshot": "the message doesn't describe it",
    "surplus arguments": "'speed'",
    "wrong types": "ref must be an object",
    "2 MB": "the message has 2000246 bytes",
    "10 MB": "the message has 10000246 bytes",
    "a foreign snapshot": "is unknown",
}
ANNOUNCED = BAD.keys() - {"not JSON", "wrong envelope", "missing arguments"}


def quarantined(deployment: Fleet, body: bytes) -> dict[str, Any]:
    """Return the only row of the quarantine with these bytes, or with the first `KEPT_BYTES` of them."""
    query = sa.text("SELECT * FROM quarantine WHERE body = :body")

    def rows() -> list[dict[str, Any]]:
        with deployment.engine.connect() as conn:
            return [dict(row) for row in conn.execute(query, {"body": body[:KEPT_BYTES]}).mappings()]

    [row] = until(rows, "the message to be in the quarantine")
    assert len(body) <= KEPT_BYTES or hashlib.sha256(body).hexdigest() in row["reason"]
    return row


def events(deployment: Fleet, snapshot_id: str) -> list[str]:
    query = sa.text("SELECT event_type FROM audit WHERE snapshot_id = :id ORDER BY generation")
    with deployment.engine.connect() as conn:
        return list(conn.execute(query, {"id": snapshot_id}).scalars())


@pytest.mark.parametrize("kind", BAD)
def test_bad_message_is_quarantined_and_delays_no_other_message(deployment: Fleet, snapshot_id: str, kind: str) -> None:
    body = BAD[kind](snapshot_id)

    deployment.publish(HOST, body)
    actions.manage(deployment)()
    deployment.await_idle()

    kept = quarantined(deployment, body)
    assert REASONS[kind] in kept["reason"]
    if kind in ANNOUNCED:
        announced = until(lambda: events(deployment, snapshot_id), "the error event")
        assert announced == [("snapshot.unmanage.error" if b"unmanage_snapshot" in body else "snapshot.manage.error")]


def test_message_that_kills_its_server_each_time_is_quarantined_and_other_messages_are_handled(
    deployment: Fleet, snapshot_id: str
) -> None:
    server = deployment.daemons[HOST]
    deadly = {VARIABLE: "accept-uncommitted", "OS_OPERATIONS__MAX_ATTEMPTS": "2"}
    source = deployment.storages[HOST].plant("poisoned")
    server.close()
    deployment.cast(HOST, source, snapshot_id)
    for _ in range(3):  # only a redelivery is counted, so not the first delivery
        server.launch(deadly)
        server.await_exit()

    server.start(deadly)

    until(lambda: events(deployment, snapshot_id) == ["snapshot.manage.error"], "the error event")
    with deployment.engine.connect() as conn:
        reasons = conn.execute(sa.text("SELECT reason FROM quarantine WHERE reason LIKE '%died%'")).scalars().all()
        assert len(reasons) == 1
    assert server.alive
    server.close()
    server.start()
    actions.manage(deployment)()
    deployment.await_idle()


def test_request_that_kills_its_driver_each_time_ends_in_error(deployment: Fleet) -> None:
    server, action = deployment.daemons[HOST], actions.manage(deployment)
    assert isinstance(action, actions.ManageAction)
    action.ends_as = "error"
    deadly = {VARIABLE: "renaming", "OS_OPERATIONS__MAX_ATTEMPTS": "2"}
    server.close()
    server.start(deadly)
    action()
    server.await_exit()
    server.launch(deadly)
    server.await_exit()

    server.start(deadly)

    deployment.await_idle()
    assert events(deployment, action.snapshot_id) == ["snapshot.manage.start", "snapshot.manage.error"]
    server.close()
    server.start()


def test_operator_lists_shows_retries_and_drops_quarantined_messages(deployment: Fleet, snapshot_id: str) -> None:
    manage = deployment.daemon("manage", HOST)
    early, garbage = request("unmanage_snapshot", snapshot_id=snapshot_id), b"garbage"
    for body in (early, garbage):
        deployment.publish(HOST, body)
    kept = {body: str(quarantined(deployment, body)["id"]) for body in (early, garbage)}
    deployment.cast(HOST, deployment.storages[HOST].plant("early"), snapshot_id)
    deployment.promises[snapshot_id] = "available"
    deployment.await_idle()

    listed = manage.run("quarantine", "list").stdout
    shown = json.loads(manage.run("quarantine", "show", kept[early]).stdout)
    retried = manage.run("quarantine", "retry", kept[early])
    dropped = manage.run("quarantine", "drop", kept[garbage])

    assert set(kept.values()) <= {line.split()[0] for line in listed.splitlines()}
    assert (shown["body"].encode(), shown["whole"]) == (early, True)
    assert "unknown" in shown["reason"]
    assert (retried.returncode, dropped.returncode) == (0, 0), retried.stderr + dropped.stderr
    deployment.promises[snapshot_id] = "deleted"
    deployment.await_idle()
    assert not set(kept.values()) & set(manage.run("quarantine", "list").stdout.split())
    for action in ("show", "retry", "drop"):
        refused = manage.run("quarantine", action, kept[early])
        assert (refused.returncode, kept[early] in refused.stderr) == (1, True)


def test_message_that_cannot_be_handled_when_it_is_sent_again_stays_in_the_quarantine(deployment: Fleet) -> None:
    body = f"garbage {uuid.uuid4()}".encode()
    deployment.publish(HOST, body)
    kept = quarantined(deployment, body)

    retried = deployment.daemon("manage", HOST).run("quarantine", "retry", kept["id"])
    actions.manage(deployment)()
    deployment.await_idle()

    assert retried.returncode == 0, retried.stderr
    back = quarantined(deployment, body)
    assert back["id"] == kept["id"]
    assert back["received_at"] > kept["received_at"]


def test_message_that_was_quarantined_in_part_is_not_sent_again(deployment: Fleet) -> None:
    body = b"x" * (KEPT_BYTES + 1)
    deployment.publish(HOST, body)

    refused = deployment.daemon("manage", HOST).run("quarantine", "retry", str(quarantined(deployment, body)["id"]))

    assert (refused.returncode, "first 4194304 bytes" in refused.stderr) == (1, True)
