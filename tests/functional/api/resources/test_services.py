"""The servers of backends over HTTP: list, disable, enable; pools and availability zones."""

from typing import Any

import pytest

from tests.functional.client import SERVER, Client, fault
from tests.functional.world import World

SNAPSHOT = "volume-1-snapshot-1"
OTHER = "storage-2@slow"
NAMED = {"host": SERVER, "binary": "cinder-volume"}


def services(client: Client, query: str = "", version: str | None = None) -> list[dict[str, Any]]:
    answer = client.get(f"os-services{query}", version=version)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["services"]
    return found


def put(client: Client, action: str, **body: Any) -> Any:
    return client.request("PUT", f"os-services/{action}", json=NAMED | body)


def test_server_without_a_heartbeat_is_listed_as_down(world: World) -> None:
    world.clock.advance(hours=2)
    world.add_heartbeat(OTHER)

    states = {each["host"]: (each["state"], each["status"]) for each in services(world.client)}

    assert states == {SERVER: ("down", "enabled"), OTHER: ("up", "enabled")}


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        (f"?host={OTHER}", [OTHER]),
        ("?host=storage-2", [OTHER]),
        ("?host=storage", []),
        ("?binary=cinder-volume", [SERVER, OTHER]),
        ("?binary=snapmanage-volume", [SERVER, OTHER]),
        ("?binary=cinder-scheduler", []),
        ("?host=&binary=cinder-volume", [SERVER, OTHER]),
    ],
)
def test_list_is_filtered_by_host_and_binary(world: World, query: str, hosts: list[str]) -> None:
    world.add_heartbeat(OTHER)

    assert [each["host"] for each in services(world.client, query)] == hosts


def test_state_of_the_backend_is_shown_from_its_microversion(shared: World) -> None:
    [older], [newer] = (services(shared.client, version=version) for version in ("3.48", "3.49"))

    assert "backend_state" not in older
    assert newer["backend_state"] == "up"


def test_disabled_server_refuses_requests_with_its_reason_until_it_is_enabled(world: World) -> None:
    volume = world.register_volume()

    disabled = put(world.client, "disable-log-reason", disabled_reason=" array swap ")
    refused = world.client.manage(volume, SNAPSHOT)
    [listed] = services(world.client)
    enabled = put(world.client, "enable")

    assert (disabled.status_code, disabled.json()["disabled_reason"]) == (200, "array swap")
    assert (listed["status"], listed["disabled_reason"]) == ("disabled", "array swap")
    assert fault(refused)[2].endswith(f"The server {SERVER} is disabled: array swap.")
    assert (enabled.status_code, enabled.json()["disabled"]) == (200, False)
    assert services(world.client)[0]["disabled_reason"] is None
    assert world.client.manage(volume, SNAPSHOT).status_code == 202


def test_server_may_be_disabled_without_a_reason(world: World) -> None:
    answer = put(world.client, "disable")

    [listed] = services(world.client)
    assert (answer.json()["status"], listed["status"], listed["disabled_reason"]) == ("disabled", "disabled", None)
    assert "no reason was given" in world.client.manage_volume("volume-2").text


def test_host_with_one_backend_may_be_named_alone(world: World) -> None:
    assert put(world.client, "disable", host=SERVER.partition("@")[0]).status_code == 200
    assert services(world.client)[0]["status"] == "disabled"


@pytest.mark.parametrize("host", ["nohost", "nohost@fast"])
def test_unknown_host_is_answered_with_the_hosts_that_exist(shared: World, host: str) -> None:
    answer = put(shared.client, "disable", host=host)

    assert fault(answer)[0] == 404
    assert f"could not be found on host {host}. These hosts exist: {SERVER}." in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"binary": "cinder-backup"}, 404),
        ({"host": ""}, 400),
        ({"host": "h" * 256}, 400),
        ({"more": "1"}, 400),
        ({"binary": None}, 400),
    ],
)
def test_malformed_change_of_a_server_is_refused(shared: World, body: dict[str, Any], status: int) -> None:
    assert fault(put(shared.client, "disable", **body))[0] == status


@pytest.mark.parametrize("reason", ["", "   ", "r" * 256, 1])
def test_reason_must_be_a_text_of_at_most_255_characters(shared: World, reason: Any) -> None:
    assert fault(put(shared.client, "disable-log-reason", disabled_reason=reason))[0] == 400
    assert services(shared.client)[0]["status"] == "enabled"


def test_pools_are_the_backends_that_accept_requests(world: World) -> None:
    world.add_heartbeat(OTHER)
    world.disable(SERVER, "maintenance")

    answer = world.client.get("scheduler-stats/get_pools")

    assert answer.json() == {"pools": [{"name": f"{OTHER}#slow"}]}


def test_pool_in_detail_has_the_backend_and_its_driver(shared: World) -> None:
    [pool] = shared.client.get("scheduler-stats/get_pools?detail=True").json()["pools"]

    assert pool["name"] == f"{SERVER}#fast"
    assert (pool["capabilities"]["volume_backend_name"], pool["capabilities"]["storage_protocol"]) == ("fast", "fake")


@pytest.mark.parametrize(("version", "found"), [("3.27", 1), ("3.28", 0)])
def test_pools_are_filtered_by_name_from_its_microversion(shared: World, version: str, found: int) -> None:
    answer = shared.client.get("scheduler-stats/get_pools?name=another", version=version)

    assert len(answer.json()["pools"]) == found


def test_zone_is_available_while_a_server_accepts_requests(world: World) -> None:
    before = world.client.get("os-availability-zone").json()
    world.disable(SERVER, "")
    after = world.client.get("os-availability-zone").json()

    states = [each["availabilityZoneInfo"][0]["zoneState"]["available"] for each in (before, after)]
    assert states == [True, False]
