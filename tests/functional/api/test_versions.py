"""Every request over HTTP: microversions, headers, discovery, health."""

import uuid
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from tests.functional.client import SERVER, fault
from tests.functional.world import World

SNAPSHOT = "volume-1-snapshot-1"


@pytest.mark.parametrize("path", ["/", "/v3", "snapshots", "/nowhere", "snapshots/%00"])
def test_every_answer_has_its_own_request_id_and_a_vary_header(shared: World, path: str) -> None:
    first, second = shared.client.get(path), shared.client.get(path)

    assert first.headers["X-Openstack-Request-Id"] != second.headers["X-Openstack-Request-Id"]
    assert first.headers["Vary"] == "OpenStack-API-Version"


def test_client_s_request_id_becomes_the_global_one(world: World) -> None:
    volume = world.register_volume()
    came = f"req-{uuid.uuid4()}"

    answer = world.client.post(
        "os-snapshot-manage",
        json={"snapshot": {"volume_id": volume, "ref": SNAPSHOT}},
        headers={"X-Openstack-Request-Id": came},
    )

    requester = world.record(answer.json()["snapshot"]["id"]).requester
    assert requester.global_request_id == came
    assert requester.request_id == answer.headers["X-Openstack-Request-Id"] != came


@pytest.mark.parametrize("came", ["no id", "req-" + "a" * 300, "req-<script>"])
def test_malformed_request_id_is_ignored(world: World, came: str) -> None:
    volume = world.register_volume()

    answer = world.client.post(
        "os-snapshot-manage",
        json={"snapshot": {"volume_id": volume, "ref": SNAPSHOT}},
        headers={"X-Openstack-Request-Id": came},
    )

    assert world.record(answer.json()["snapshot"]["id"]).requester.global_request_id is None


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [
        (None, "volume 3.0"),
        ("volume 3.8", "volume 3.8"),
        ("volume latest", "volume 3.71"),
        ("compute 2.1, volume 3.44", "volume 3.44"),
        ("compute 2.1", "volume 3.0"),
    ],
)
def test_answer_names_its_microversion(shared: World, asked: str | None, spoken: str) -> None:
    answer = shared.client.get("snapshots", headers={"OpenStack-API-Version": asked} if asked else {})

    assert answer.headers["OpenStack-API-Version"] == spoken


@pytest.mark.parametrize("asked", ["volume 3.8 and more", "volume three", "volume 3", "volume 3.8.1"])
def test_malformed_version_is_a_bad_request(shared: World, asked: str) -> None:
    answer = shared.client.get("snapshots", headers={"OpenStack-API-Version": asked})

    assert fault(answer)[:2] == (400, "badRequest")


def test_version_out_of_range_is_not_acceptable_and_names_the_range(shared: World) -> None:
    answers = [shared.client.get("snapshots", version=version) for version in ("2.99", "3.72", "4.0")]

    assert {fault(answer)[0] for answer in answers} == {406}
    assert all("3.0" in answer.text and "3.71" in answer.text for answer in answers)


@pytest.mark.parametrize(("path", "status"), [("/", 300), ("/v3", 200), ("/v3/", 200)])
@pytest.mark.parametrize("version", [None, "3.71", "3.99"])
def test_discovery_needs_neither_token_nor_version(shared: World, path: str, status: int, version: str | None) -> None:
    answer = shared.client.get(path, version=version)

    [known] = answer.json()["versions"]
    assert answer.status_code == status
    assert (known["id"], known["min_version"], known["version"]) == ("v3.0", "3.0", "3.71")
    assert known["links"] == [{"rel": "self", "href": f"{shared.client.root}/v3/"}]


def test_health_is_ok_while_the_database_answers(shared: World) -> None:
    answer = shared.client.get("/healthcheck", version="3.99")

    assert (answer.status_code, answer.json()) == (200, {"detailed": False, "reasons": []})


def test_unreachable_database_is_reported_as_unavailable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Any:
        raise OperationalError(None, None, Exception("connection refused by secret-host"))

    monkeypatch.setattr(world.db, "clock", away)

    health = world.client.get("/healthcheck")
    listing = world.client.get(f"os-snapshot-manage?host={SERVER}")

    assert (health.status_code, health.json()["reasons"]) == (503, [{"reason": "The database can't be reached."}])
    assert fault(listing)[:2] == (503, "serviceUnavailable")
    assert "Retry-After" in listing.headers
    assert "secret-host" not in listing.text


def test_unexpected_failure_reveals_no_details(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("details")

    monkeypatch.setattr(world.bus, "call", broken)

    answer = world.client.get(f"os-snapshot-manage?host={SERVER}")

    assert fault(answer) == (
        500,
        "computeFault",
        "The server failed unexpectedly; its log has the reason under this request's id.",
    )
