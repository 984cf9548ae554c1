"""Origins over HTTP: shown, filtered by, and refused where a new name would break another tool."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snapmanage.core.origins.forms import Form
from snapmanage.core.origins.patterns import Origins, Pattern, Rename
from snapmanage.drivers.fake import FakeDriver
from snapmanage.store import services
from tests.examples import new_id
from tests.functional.client import SERVER, fault
from tests.functional.world import PACE, RULES, VOLUME, World, running_world

DAILY = "autosnap_2026-07-30_10:00:01_daily"
WEEKLY = "autosnap_2026-07-27_10:00:01_weekly"
SYNCOID = "syncoid_nas_2020-01-27:12:30:01"
WHY = "syncoid needs this name for its next incremental send"
REFUSAL = f"{SYNCOID!r} is a snapshot of syncoid, so it isn't renamed: {WHY}"
FORCED = {"metadata": {"snapmanage:force": "true"}}


def backend() -> FakeDriver:
    driver = FakeDriver(fake_snapshots=1)
    for name, size_gb in ((DAILY, 1), (WEEKLY, 2), (SYNCOID, 3)):
        driver.add_snapshot(VOLUME, name, size_gb * 1024**3)
    driver.add_volume("gone")
    driver.add_snapshot("gone", "orphan")
    driver.remove("gone")
    return driver


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running_world(tmp_path, {SERVER: backend()}) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("origins"), {SERVER: backend()}) as made:
        yield made


def names(entries: list[dict[str, Any]]) -> set[str]:
    return {entry["reference"]["source-name"] for entry in entries}


def test_list_shows_the_origin_and_the_consequence_of_a_new_name(shared: World) -> None:
    by_name = {entry["reference"]["source-name"]: entry for entry in shared.client.manageable()}

    assert by_name[DAILY]["safe_to_manage"] is True
    shown = by_name[DAILY]["extra_info"]
    assert {key: shown[key] for key in ("origin", "origin-class", "origin-rename")} == {
        "origin": "sanoid",
        "origin-class": "daily",
        "origin-rename": "warn",
    }
    assert shown["origin-created-at"] == "2026-07-30T10:00:01+00:00"
    assert by_name[SYNCOID]["safe_to_manage"] is False
    assert by_name[SYNCOID]["reason_not_safe"] == f"origin refuses: {WHY}"
    assert by_name["volume-1-snapshot-1"]["extra_info"] is None


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"origin": "sanoid"}, {DAILY, WEEKLY}),
        ({"origin": "SANOID", "class": "weekly"}, {WEEKLY}),
        ({"class": "daily"}, {DAILY}),
        ({"origin": "snapper"}, set()),
        ({"name": "autosnap_*"}, {DAILY, WEEKLY}),
        ({"name": "autosnap"}, set()),
        ({"name": "autosnap_*", "name~": "DAILY"}, {DAILY}),
        ({"source_volume": "vol*", "min_size": 2}, {WEEKLY, SYNCOID}),
        ({"source_volume": "x*"}, set()),
        ({"min_size": 2, "max_size": 2}, {WEEKLY}),
        ({"orphans": "true"}, {"orphan"}),
        ({"orphans": "false", "max_size": 1}, {DAILY, "volume-1-snapshot-1"}),
        ({"origin": "syncoid", "safe_to_manage": "true"}, set()),
        ({"safe_to_manage": "false"}, {SYNCOID}),
    ],
)
def test_list_is_filtered(shared: World, parameters: dict[str, Any], expected: set[str]) -> None:
    assert names(shared.client.manageable(**parameters)) == expected


def test_pages_of_a_filtered_list_join_up(shared: World) -> None:
    first = shared.client.manageable(origin="sanoid", limit=1)
    second = shared.client.manageable(origin="sanoid", limit=1, marker=json.dumps(first[-1]["reference"]))

    assert [len(first), len(second), names(first + second)] == [1, 1, {DAILY, WEEKLY}]


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"name_regex": ".*"}, "name_regex isn't supported; use name with a glob"),
        ({"name": ""}, "name must have 1 to 255 characters"),
        ({"name": "*" * 9}, "name has 9 *; the limit is 8"),
        ({"source_volume": "x" * 256}, "source_volume must have 1 to 255 characters"),
        ({"min_size": "-1"}, "min_size must be a whole number"),
        ({"max_size": 2**41}, "max_size must be at most"),
        ({"orphans": "maybe"}, "orphans must be true or false"),
        ({"class": "x" * 256}, "class has 256 characters"),
    ],
)
def test_wrong_filter_is_refused(shared: World, parameters: dict[str, Any], text: str) -> None:
    answer = shared.client.get("os-snapshot-manage", params={"host": SERVER} | parameters)

    assert answer.status_code == 400
    assert text in fault(answer)[2]


def test_server_of_an_earlier_release_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapmanage.core.lists.filters.PARAMETERS", ())

    answer = world.client.get("os-snapshot-manage", params={"host": SERVER, "origin": "sanoid", "min_size": 1})

    assert answer.status_code == 503
    assert fault(answer)[2] == (
        f"{SERVER} runs an earlier release, which doesn't know the filters min_size, origin; upgrade "
        "snapmanage-volume there, or leave these filters out"
    )


def test_request_is_refused_at_once_where_the_name_decides(world: World) -> None:
    volume_id = world.register_volume()

    answer = world.client.manage(volume_id, SYNCOID)

    assert (answer.status_code, fault(answer)[2]) == (409, REFUSAL)
    assert world.client.get("snapshots").json()["snapshots"] == []


def test_managed_snapshot_keeps_its_origin_as_metadata(world: World) -> None:
    volume_id = world.register_volume()

    snapshot_id = world.manage_snapshot(volume_id, DAILY, metadata={"a": "b", "origin-class": "mine"})

    assert world.client.snapshot(snapshot_id)["metadata"] == {
        "a": "b",
        "origin": "sanoid",
        "origin-class": "mine",
        "original-name": DAILY,
    }
    found = world.client.get("snapshots", params={"metadata": json.dumps({"origin": "sanoid"})}, version="3.22")
    assert [each["id"] for each in found.json()["snapshots"]] == [snapshot_id]


def test_managed_snapshot_is_listed_without_the_origin_of_its_new_name(world: World) -> None:
    snapshot_id = world.manage_snapshot(world.register_volume(), DAILY)

    [entry] = world.client.manageable(name=f"snapshot-{snapshot_id}")

    assert (entry["reason_not_safe"], entry["extra_info"]) == ("already managed", None)


def test_administrator_may_force_a_new_name(shared: World) -> None:
    volume_id = shared.register_volume()

    refused = shared.client.manage(volume_id, SYNCOID, metadata={"snapmanage:force": "false"})
    snapshot_id = shared.manage_snapshot(volume_id, SYNCOID, **FORCED)

    assert refused.status_code == 409
    assert shared.client.snapshot(snapshot_id)["metadata"]["origin"] == "syncoid"
    shared.client.unmanage(snapshot_id)
    shared.await_unmanaged(snapshot_id)
    assert SYNCOID in names(shared.client.manageable())


def test_snapshot_whose_record_is_lost_is_taken_back_under_its_old_id(tmp_path: Path) -> None:
    old_id = new_id()
    name = f"snapshot-{old_id}"
    cinder = Pattern("Cinder", (Form("snapshot-{uuid}"),), Rename.REFUSE, "Cinder names its snapshots so")
    with running_world(tmp_path, {SERVER: backend()}, replace(RULES, origins=Origins((cinder,)))) as world:
        world.driver.add_snapshot(VOLUME, name)
        body = {"snapshot": {"volume_id": world.register_volume(), "ref": name}}

        without_id = world.client.post("os-snapshot-manage", json=body)
        with_id = world.client.post("os-snapshot-manage", json=body, headers={"Snapmanage-Snapshot-Id": old_id})

        assert (without_id.status_code, with_id.status_code) == (409, 202)
        assert world.await_settled(old_id)["status"] == "available"
        assert world.record(old_id).backend_name == name
        world.client.unmanage(old_id)
        world.await_unmanaged(old_id)
        assert name in names(world.client.manageable())


def test_backend_without_protection_renames_everything(tmp_path: Path) -> None:
    pace = replace(PACE, protect_origins=False)
    with running_world(tmp_path, {SERVER: backend()}, backend_limits=pace) as world:
        [entry] = world.client.manageable(origin="syncoid")
        snapshot_id = world.manage_snapshot(world.register_volume(), SYNCOID)

        assert (entry["safe_to_manage"], entry["extra_info"]["origin-rename"]) == (True, "refuse")
        assert world.client.snapshot(snapshot_id)["metadata"]["origin"] == "syncoid"


def test_nothing_is_refused_where_nothing_is_renamed(tmp_path: Path) -> None:
    with running_world(tmp_path, {SERVER: backend()}, replace(RULES, name_template="")) as world:
        [entry] = world.client.manageable(origin="syncoid")
        snapshot_id = world.manage_snapshot(world.register_volume(), SYNCOID)

        assert entry["safe_to_manage"] is True
        assert world.record(snapshot_id).backend_name == SYNCOID


def test_server_refuses_what_the_api_can_t_decide(tmp_path: Path) -> None:
    """The API has no table here, like one whose origins_file is older than that of the server."""
    with running_world(tmp_path, {SERVER: backend()}) as world:
        volume_id = world.register_volume()
        world.db.write(lambda conn, now: services.beat(conn, replace(services.all_of(conn)[0], protects_origins=None)))
        snapshot_id = world.request_manage(volume_id, SYNCOID)

        assert world.await_settled(snapshot_id)["status"] == "error"
        operation = world.client.operation(snapshot_id)
        assert (operation["reason_code"], operation["reason"]) == ("origin_refuses", REFUSAL)
        assert world.record(snapshot_id).binding is None
        assert SYNCOID in names(world.client.manageable())
        [message] = world.client.messages(snapshot_id)
        assert message["event_id"] == "SNAPSHOT_MANAGE_ORIGIN_REFUSES"


def test_repeated_request_gets_its_record_although_the_table_has_changed(world: World) -> None:
    volume_id, key = world.register_volume(), {"Idempotency-Key": "k"}
    body = {"snapshot": {"volume_id": volume_id, "ref": SYNCOID} | FORCED}
    first = world.client.post("os-snapshot-manage", json=body, headers=key)

    second = world.client.post("os-snapshot-manage", json=body, headers=key)

    assert first.json()["snapshot"]["id"] == second.json()["snapshot"]["id"]


def test_heartbeat_tells_the_api_whether_a_backend_is_protected(tmp_path: Path) -> None:
    rules = replace(RULES, origins=Origins())
    with running_world(tmp_path, {SERVER: backend()}, rules) as world, world.db.read() as conn:
        assert [each.protects_origins for each in services.all_of(conn)] == [True]
