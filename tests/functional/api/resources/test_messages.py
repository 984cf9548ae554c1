"""User messages and the progress of operations over HTTP."""

import pytest

from tests.functional.client import PROJECT, Client, fault
from tests.functional.world import OTHER_PROJECT, World

SNAPSHOT = "volume-1-snapshot-1"


def test_operation_shows_its_events(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), SNAPSHOT)
    world.audited_events(snapshot_id, ".end")

    shown = world.client.operation(snapshot_id)

    assert shown.keys() == {
        "snapshot_id",
        "status",
        "attempt",
        "max_attempts",
        "reference",
        "backend_name",
        "backend_id",
        "backend_created_at",
        "reason",
        "reason_code",
        "next_attempt_at",
        "batch_position",
        "batch_size",
        "events",
    }
    assert (shown["attempt"], shown["max_attempts"], shown["next_attempt_at"]) == (1, 3, None)
    assert shown["backend_name"] == f"snapshot-{snapshot_id}"
    assert shown["backend_created_at"].startswith("2024-01-01T")
    assert [event["status"] for event in shown["events"]] == ["creating", "available"]


def test_claimed_operation_shows_no_next_attempt(world: World) -> None:
    volume = world.register_volume()
    with world.hang_at("rename") as slow:
        snapshot_id = world.request_manage(volume, SNAPSHOT)
        slow.reached()

        shown = world.client.operation(snapshot_id)

        assert (shown["status"], shown["attempt"], shown["next_attempt_at"]) == ("creating", 1, None)


def test_operation_before_a_retry_shows_the_reason_and_the_time(world: World) -> None:
    volume = world.register_volume()
    world.driver.go_away()
    snapshot_id = world.request_manage(volume, SNAPSHOT)
    world.await_failed_attempt(snapshot_id, attempt=1)
    world.audited_events(snapshot_id, ".start")

    shown = world.client.operation(snapshot_id)

    assert (shown["status"], shown["attempt"], shown["reason_code"]) == ("creating", 1, "backend_unavailable")
    assert shown["next_attempt_at"] is not None
    assert [event["event_type"] for event in shown["events"]] == ["snapshot.manage.start"]


def test_message_has_the_fields_of_the_block_storage_api(world: World) -> None:
    snapshot_id = world.request_manage(world.register_volume(), "nowhere")
    world.await_settled(snapshot_id)

    [message] = world.client.messages(snapshot_id)
    shown = world.client.get(f"messages/{message['id']}", version="3.3").json()["message"]

    assert shown == message
    assert message.keys() == {
        "id",
        "event_id",
        "user_message",
        "message_level",
        "resource_type",
        "resource_uuid",
        "created_at",
        "guaranteed_until",
        "request_id",
        "links",
    }
    assert (message["event_id"], message["message_level"]) == ("SNAPSHOT_MANAGE_SOURCE_NOT_FOUND", "ERROR")
    assert (message["resource_type"], message["resource_uuid"]) == ("VOLUME_SNAPSHOT", snapshot_id)
    assert {link["rel"]: link["href"] for link in message["links"]} == {
        "self": f"{world.client.root}/v3/{PROJECT}/messages/{message['id']}",
        "bookmark": f"{world.client.root}/{PROJECT}/messages/{message['id']}",
    }


def test_link_to_a_message_works_without_a_project_too(world: World) -> None:
    world.await_settled(world.request_manage(world.register_volume(), "nowhere"))
    mine = {"X-Auth-Token": f"ann:{PROJECT}"}

    [message] = world.client.get("/v3/messages", version="3.3", headers=mine).json()["messages"]

    [path] = [link["href"].removeprefix(world.client.root) for link in message["links"] if link["rel"] == "self"]
    assert path == f"/v3/messages/{message['id']}"
    assert world.client.get(path, version="3.3", headers=mine).status_code == 200


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("event_id=SNAPSHOT_MANAGE_SOURCE_NOT_FOUND", 5),
        ("event_id=VOLUME_MANAGE_SOURCE_NOT_FOUND", 0),
        ("message_level=ERROR", 5),
        ("message_level=INFO", 0),
        ("resource_type=VOLUME_SNAPSHOT", 5),
        ("resource_type=VOLUME", 0),
        ("resource_uuid=00000000-0000-0000-0000-000000000000", 0),
        ("request_id=req-0", 0),
        ("limit=2", 2),
        ("offset=4", 1),
    ],
)
def test_messages_are_filtered(listed: Client, query: str, number: int) -> None:
    answer = listed.get(f"messages?{query}", version="3.5")

    assert len(answer.json()["messages"]) == number


def test_filters_of_messages_work_from_their_microversion_on(listed: Client) -> None:
    before = listed.get("messages?message_level=INFO", version="3.4").json()["messages"]

    assert len(before) == 5


def test_pages_of_messages_join_up(listed: Client) -> None:
    every = listed.get("messages", version="3.5").json()["messages"]

    after = listed.get(f"messages?marker={every[1]['id']}", version="3.5").json()["messages"]

    assert after == every[2:]


def test_unknown_marker_of_messages_is_a_bad_request(listed: Client) -> None:
    answer = listed.get("messages?marker=nobody", version="3.5")

    assert fault(answer)[:2] == (400, "badRequest")


def test_marker_of_messages_works_from_its_microversion_on(listed: Client) -> None:
    assert len(listed.get("messages?marker=nobody", version="3.4").json()["messages"]) == 5


def test_messages_of_another_project_are_not_found(listed: Client) -> None:
    message = listed.get("messages", version="3.5").json()["messages"][0]
    stranger = Client(listed.root.removeprefix("http://"), OTHER_PROJECT, "3.5")

    answers = stranger.get(f"messages/{message['id']}"), stranger.get("messages")

    stranger.close()
    assert fault(answers[0])[0] == 404
    assert answers[1].json() == {"messages": []}


def test_messages_are_not_found_below_their_microversion(listed: Client) -> None:
    answer = listed.get("messages", version="3.2")

    assert fault(answer)[0] == 404
