"""The API at its limits: a request at a limit is served, one beyond it is refused with the field and the limit."""

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest

from snapmanage.api.answers.faults import LONGEST_TEXT
from snapmanage.api.app import MOST_PARAMETERS
from snapmanage.core.values.metadata import MOST_PAIRS
from snapmanage.manage.queries import SHOWN_BYTES, SHOWN_EVENTS
from snapmanage.store.audit import log
from tests.functional.client import SERVER, fault
from tests.functional.world import World

LONG = "x" * 20_000


def pairs(number: int) -> dict[str, str]:
    return {str(each): "v" for each in range(number)}


@pytest.mark.parametrize(
    ("fits", "beyond", "text"),
    [
        ({"name": "x" * 255}, {"name": "x" * 256}, "snapshot/name. 'xxx"),
        ({"description": "x" * 255}, {"description": "x" * 256}, "has 256 characters; the limit is 255, so send fewer"),
        ({"metadata": pairs(MOST_PAIRS)}, {"metadata": pairs(MOST_PAIRS + 1)}, "has 129 properties; the limit is 128"),
        ({"metadata": {"k": "x" * 255}}, {"metadata": {"k": "x" * 256}}, "snapshot/metadata/k. "),
        ({"metadata": {"k" * 255: ""}}, {"metadata": {"k" * 256: ""}}, "snapshot/metadata. "),
    ],
    ids=["name", "description", "pairs", "value", "key"],
)
def test_field_of_a_new_snapshot_at_its_limit_and_one_beyond(
    world: World, fits: dict[str, Any], beyond: dict[str, Any], text: str
) -> None:
    volume = world.register_volume()

    accepted = world.client.manage(volume, "volume-1-snapshot-1", **fits)
    refused = world.client.manage(volume, "volume-1-snapshot-2", **beyond)

    assert accepted.status_code == 202, accepted.text
    assert fault(refused)[0] == 400
    assert text in fault(refused)[2]


@pytest.mark.parametrize(
    ("fits", "beyond", "status"),
    [
        ({"name": "x" * 255}, {"name": "x" * 256}, 202),
        ({"description": "x" * 255}, {"description": "x" * 256}, 202),
        ({"metadata": pairs(MOST_PAIRS)}, {"metadata": pairs(MOST_PAIRS + 1)}, 202),
        ({"host": "x" * 255}, {"host": "x" * 256}, 404),
    ],
    ids=["name", "description", "pairs", "host"],
)
def test_field_of_a_new_volume_at_its_limit_and_one_beyond(
    world: World, fits: dict[str, Any], beyond: dict[str, Any], status: int
) -> None:
    assert world.client.manage_volume("volume-1", **fits).status_code == status
    assert fault(world.client.manage_volume("volume-1", **beyond))[:2] == (400, "badRequest")


@pytest.mark.parametrize(("longer", "status"), [(0, 200), (1, 400)])
@pytest.mark.parametrize("name", ["user", "project"])
def test_names_of_a_token_have_at_most_255_characters(shared: World, name: str, longer: int, status: int) -> None:
    names = {"user": "ann", "project": "p", name: "x" * (255 + longer)}

    answer = shared.client.get("/v3/snapshots", headers={"X-Auth-Token": f"{names['user']}:{names['project']}"})

    assert answer.status_code == status


@pytest.mark.parametrize("path", ["snapshots?name~=", "volumes/detail?display_name~=", "messages?event_id~="])
def test_part_of_a_text_in_a_filter_has_at_most_255_characters(shared: World, path: str) -> None:
    answers = [shared.client.get(path + "x" * length, version="3.71") for length in (255, 256)]

    assert [answer.status_code for answer in answers] == [200, 400]


@pytest.mark.parametrize(("length", "is_kept"), [(68, True), (69, False)])
def test_request_id_of_a_client_has_at_most_68_characters(world: World, length: int, is_kept: bool) -> None:
    sent = "req-".ljust(length, "a")

    answer = world.client.post(
        "os-snapshot-manage",
        json={"snapshot": {"volume_id": world.register_volume(), "ref": "volume-1-snapshot-1"}},
        headers={"X-Openstack-Request-Id": sent},
    )

    requester = world.record(answer.json()["snapshot"]["id"]).requester
    assert requester.global_request_id == (sent if is_kept else None)


@pytest.mark.parametrize(("length", "status"), [(255, 200), (256, 404)])
def test_project_in_a_path_has_at_most_255_characters(shared: World, length: int, status: int) -> None:
    assert shared.client.get(f"/v3/{'a' * length}/snapshots").status_code == status


def test_query_has_at_most_a_hundred_parameters(shared: World) -> None:
    fits, beyond = ("&".join(["limit=1"] * number) for number in (MOST_PARAMETERS, MOST_PARAMETERS + 1))

    assert shared.client.get(f"snapshots?{fits}").status_code == 200
    assert fault(shared.client.get(f"snapshots?{beyond}")) == (
        400,
        "badRequest",
        "the query has more than 100 parameters; send fewer",
    )


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"snapshots/{LONG}", {}),
        (f"snapshots?marker={LONG}", {}),
        (f"snapshots?sort={LONG}", {}),
        (f"snapshots?limit={LONG}", {}),
        ("snapshots", {"OpenStack-API-Version": f"volume {LONG}"}),
        ("snapshots", {"OpenStack-API-Version": f"volume 3.{'9' * 4000}"}),
        (f"os-snapshot-manage?host={LONG}", {}),
        (f"os-snapshot-manage?host={LONG}@{LONG}@x", {}),
        (f"os-snapshot-manage?host={SERVER}&name~={LONG}", {}),
        (f"os-snapshot-manage?host={SERVER}&marker={{%22{LONG}%22:1}}", {}),
        (f"os-snapshot-manage?host={SERVER}&sort={LONG}", {}),
        (f"os-snapshot-manage?host={SERVER}&created_after={LONG}", {}),
        (f"os-snapshot-manage?host={SERVER}&volume_id={LONG}", {}),
    ],
    ids=lambda given: str(given)[:50],
)
def test_error_repeats_only_the_beginning_of_a_long_text(shared: World, path: str, headers: dict[str, str]) -> None:
    answer = shared.client.get(path, headers=headers)

    assert fault(answer)[0] in (400, 404, 406)
    assert len(fault(answer)[2]) <= LONGEST_TEXT + 1


def test_host_that_no_server_has_is_never_called(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(shared.bus, "call", lambda server, *more: called.append(server))

    answers = [shared.client.get("os-snapshot-manage", params={"host": f"h{n}@b"}) for n in range(20)]

    assert {answer.status_code for answer in answers} == {404}
    assert called == []


def test_operation_shows_the_newest_hundred_events(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), "volume-1-snapshot-1")
    world.audited_events(snapshot_id, ".end")
    with world.db.read() as conn:
        *_, last = log.of_snapshot(conn, snapshot_id)
    numbers = range(10, 10 + SHOWN_EVENTS)
    later = [replace(last, number=number, generation=number, event_id=str(uuid.uuid4())) for number in numbers]
    world.db.write(lambda conn, _: log.append(conn, later))

    with world.db.read() as conn:
        shown = log.of_snapshot(conn, snapshot_id, SHOWN_EVENTS)

    assert len(world.client.operation(snapshot_id)["events"]) == SHOWN_EVENTS == 100
    assert [entry.generation for entry in shown] == list(numbers)


def test_operation_reads_four_mebibytes_of_events_and_no_larger_event(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), "volume-1-snapshot-1")
    world.audited_events(snapshot_id, ".end")
    with world.db.read() as conn:
        *_, last = log.of_snapshot(conn, snapshot_id)

    def shown(number: int, size: int) -> list[int]:
        content = json.dumps(last.payload | {"generation": number, "metadata": {"k": "x" * size}})
        entry = replace(last, number=number, generation=number, event_id=str(uuid.uuid4()), content=content)
        world.db.write(lambda conn, _: log.append(conn, [entry]))
        return [event["generation"] for event in world.client.operation(snapshot_id)["events"]]

    assert shown(10, SHOWN_BYTES // 2) == [1, 2, 10]
    assert shown(11, SHOWN_BYTES // 2) == [11]
    assert shown(12, SHOWN_BYTES) == [11]  # a forged event must not hide the true ones
