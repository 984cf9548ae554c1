"""Samples of Cinder's messages, sent to real processes by a plain AMQP client."""

import json
from collections.abc import Iterator
from typing import Any

import kombu
import pytest
import sqlalchemy as sa

from snapmanage.testing.waiting import until
from tests.chaos.fleet.fleet import Fleet
from tests.chaos.fleet.machines import HOST
from tests.examples import sample

SNAPSHOT_ID = "d6d925e0-eec3-4905-993c-4bba6f7f57c0"
VOLUME = "volume-916bf7fc-22b0-4089-9528-bec5083ba14e"
SOURCE = "backend-snap-0000001"
STEPS = ("manage.start", "manage.end", "unmanage.start", "unmanage.end")


@pytest.fixture
def replies(deployment: Fleet) -> Iterator[Any]:
    """Declare the queue in which the sample's sender waits for its reply."""
    name = message("call_get_manageable_snapshots")["_reply_q"]
    with kombu.Connection(deployment.broker.amqp_url) as connection:
        queue = kombu.Queue(name, exclusive=True, auto_delete=True)(connection.channel())
        queue.declare()
        yield queue


def message(name: str) -> dict[str, Any]:
    inside: dict[str, Any] = json.loads(sample(name)["body"]["oslo.message"])
    return inside


def send(deployment: Fleet, name: str) -> None:
    """Send a sample in which only the backend's name of the snapshot is replaced."""
    body = json.dumps(sample(name)["body"]).replace(SOURCE, f"{VOLUME}@daily")
    deployment.publish(HOST, body.encode(), suffix=f".{HOST}")


def events(deployment: Fleet) -> list[str]:
    query = sa.text("SELECT event_type FROM audit WHERE snapshot_id = :id ORDER BY generation")
    with deployment.engine.connect() as conn:
        return list(conn.execute(query, {"id": SNAPSHOT_ID}).scalars())


def test_samples_of_the_reference_are_carried_out_answered_and_announced(deployment: Fleet, replies: Any) -> None:
    storage = deployment.files(HOST)
    storage.plant_volume(VOLUME)
    source = storage.plant("daily", VOLUME)

    send(deployment, "cast_manage_existing_snapshot")
    deployment.promises[SNAPSHOT_ID] = "available"
    deployment.await_idle()
    send(deployment, "call_get_manageable_snapshots")
    reply = until(lambda: replies.get(no_ack=True), "the reply")
    send(deployment, "cast_delete_snapshot_unmanage_only")
    deployment.promises[SNAPSHOT_ID] = "deleted"
    until(lambda: events(deployment)[-1] == "snapshot.unmanage.end", "the end of unmanaging")
    deployment.await_idle()

    assert storage.key_of(source)
    assert events(deployment) == [f"snapshot.{step}" for step in STEPS]
    answered = json.loads(json.loads(reply.body)["oslo.message"])
    expected = json.loads(sample("reply_get_manageable_snapshots")["body"]["oslo.message"])
    assert answered.keys() == expected.keys()
    assert (answered["_msg_id"], answered["failure"]) == (expected["_msg_id"], None)
    for entry in answered["result"]:
        assert entry.keys() == expected["result"][0].keys()
        assert entry["versioned_object.data"].keys() == expected["result"][0]["versioned_object.data"].keys()


def test_sample_with_a_bad_reference_ends_in_error(deployment: Fleet) -> None:
    snapshot_id = message("cast_manage_existing_snapshot_bad_ref")["args"]["snapshot"]["versioned_object.data"]["id"]

    send(deployment, "cast_manage_existing_snapshot_bad_ref")

    deployment.promises[snapshot_id] = "error"
    until(lambda: snapshot_id in deployment.known_ids(), "the cast to be accepted")
    deployment.await_idle()
