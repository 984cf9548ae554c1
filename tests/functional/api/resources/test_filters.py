"""Filters of lists over HTTP: host, reference, times, consumes_quota; unknown parameters are refused."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from snapmanage.core.records import Requester
from snapmanage.core.reference import Reference
from snapmanage.core.values.location import Location
from snapmanage.store import records
from tests.examples import available_volume, new_id, parameter_id, snapshot
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, Client, fault
from tests.functional.world import World, running_world

RECORDS = ["snapshots", "snapshots/detail", "volumes", "volumes/detail"]
LATEST = "3.71"
DAY = datetime(2026, 3, 1, tzinfo=UTC)
PLACES = {"first": "storage-1@fast", "second": "storage-1@fast#pool", "third": "storage-2@fast#fast", "last": "s@slow"}
REFERENCES = {
    "first": "disk@daily",
    "second": 'disk@"quoted%_\\',
    "third": {"source-name": "disk@daily", "pool": "a"},
    "last": "{odd",
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a world whose callers have tokens, with four volumes and four snapshots, one of each day."""
    with running_world(tmp_path_factory.mktemp("filled"), authenticate=by_token()) as world:
        world.client.headers |= token("admin", PROJECT)
        for number, name in enumerate(PLACES):
            place(world, name, created_at=DAY + timedelta(days=number), updated_at=updated(number))
        yield world


def updated(number: int) -> datetime | None:
    """Return the time of the last change; the last record has none."""
    return None if number == 3 else DAY + timedelta(days=number, hours=1)


def place(world: World, name: str, **times: Any) -> None:
    fields = {
        "requester": Requester(PROJECT),
        "location": Location.parse(PLACES[name]),
        "reference": Reference.of(REFERENCES[name]),  # type: ignore[arg-type]
        "name": name,
        **times,
    }
    owned = {"reference_key": new_id()} if name == "first" else {}
    made = (available_volume(id=new_id(), **fields), snapshot(id=new_id(), **fields, **owned))
    for record in made:
        world.db.write(lambda conn, _, record=record: records.insert(conn, record))  # type: ignore[misc]


def names(client: Client, path: str, version: str = LATEST, **query: Any) -> list[str]:
    answer = client.get(path, version=version, params={"sort": "created_at:asc"} | query)
    assert answer.status_code == 200, answer.text
    return [each["name"] for each in answer.json()[path.partition("/")[0]]]


@pytest.mark.parametrize("path", RECORDS)
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("storage-1@fast", ["first", "second"]),
        ("storage-1@fast#pool", ["second"]),
        ("storage-1@fast#fast", ["first"]),
        ("storage-2@fast", ["third"]),
        ("storage-2@fast#fast", ["third"]),
        ("storage-1@fas_", []),
        ("nobody@nowhere", []),
    ],
)
def test_records_are_filtered_by_host(filled: World, path: str, host: str, expected: list[str]) -> None:
    assert names(filled.client, path, host=host) == expected
    assert names(filled.client, path, host=host, all_tenants="1") == expected


@pytest.mark.parametrize("host", ["storage-1", "", "@", "a@b@c", "x" * 300])
def test_malformed_host_is_refused(filled: World, host: str) -> None:
    status, name, text = fault(filled.client.get("snapshots", params={"host": host}))

    assert (status, name) == (400, "badRequest")
    assert "host" in text


@pytest.mark.parametrize("path", RECORDS)
def test_filter_by_host_is_for_administrators(filled: World, path: str) -> None:
    reader = filled.another_client()
    reader.headers |= token("reader", PROJECT)

    answer = reader.get(path, params={"host": "storage-1@fast"})

    reader.close()
    assert fault(answer) == (403, "forbidden", "The filter host is for administrators; omit it.")


@pytest.mark.parametrize("path", RECORDS)
@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("disk@daily", ["first"]),
        ('{"source-name": "disk@daily"}', ["first"]),
        ('disk@"quoted%_\\', ["second"]),
        ('{"pool":"a", "source-name":"disk@daily"}', ["third"]),
        ("{odd", ["last"]),
        ("disk@dail%", []),
        ("disk@dail_", []),
        ("DISK@daily", []),
        ("disk@daily ", []),
        ('{"source-name": ' * 2000, []),
    ],
    ids=lambda value: parameter_id(value)[:40],
)
def test_records_are_filtered_by_reference(filled: World, path: str, reference: str, expected: list[str]) -> None:
    assert names(filled.client, path, reference=reference) == expected


@pytest.mark.parametrize("reference", ["{}", '{"a": NaN}', json.dumps({"a": "x" * 70_000})[:200_000]])
def test_reference_that_no_record_can_have_is_refused(filled: World, reference: str) -> None:
    answer = filled.client.get("snapshots", params={"reference": reference})

    assert answer.status_code in (400, 414)


def test_reader_filters_by_reference(filled: World) -> None:
    reader = filled.another_client()
    reader.headers |= token("reader", PROJECT)

    found = names(reader, "snapshots", reference="disk@daily")

    reader.close()
    assert found == ["first"]


@pytest.mark.parametrize("path", RECORDS)
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"created_at": "gte:2026-03-02T00:00:00"}, ["second", "third", "last"]),
        ({"created_at": "gt:2026-03-02T00:00:00Z"}, ["third", "last"]),
        ({"created_at": "lt:2026-03-02T00:00:00Z"}, ["first"]),
        ({"created_at": "lte:2026-03-02T00:00:00.000000Z"}, ["first", "second"]),
        ({"created_at": "eq:2026-03-02T01:00:00+01:00"}, ["second"]),
        ({"created_at": "neq:2026-03-02T00:00:00Z"}, ["first", "third", "last"]),
        ({"created_at": "gt:2026-03-01T00:00:00Z,lt:2026-03-03T00:00:00Z"}, ["second"]),
        ({"updated_at": "gte:2026-03-02T01:00:00Z"}, ["second", "third"]),
        ({"updated_at": "lt:2027-01-01"}, ["first", "second", "third"]),
        ({"updated_at": "gt:2026-03-02", "created_at": "lt:2026-03-03"}, ["second"]),
        ({"updated_at": "gt:2020-01-01", "name": "first"}, ["first"]),
    ],
    ids=parameter_id,
)
def test_records_are_filtered_by_time(filled: World, path: str, query: dict[str, str], expected: list[str]) -> None:
    assert names(filled.client, path, **query) == expected


def test_filters_by_time_work_from_their_microversion_on(filled: World) -> None:
    assert names(filled.client, "volumes", "3.60", updated_at="gte:2030-01-01") == []
    assert len(names(filled.client, "volumes", "3.59", updated_at="gte:2030-01-01")) == 4


@pytest.mark.parametrize("name", ["created_at", "updated_at"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "gte",
        "gte:",
        "gte:xx",
        "2026-01-01",
        "is:2026-01-01",
        "gte:2026-01-01,",
        "gt:0001-01-01T00:00:00+14:00",
        ",".join(["gt:2026-01-01"] * 7),
    ],
)
def test_malformed_time_is_refused(filled: World, name: str, text: str) -> None:
    status, kind, said = fault(filled.client.get("volumes", version="3.60", params={name: text}))

    assert (status, kind) == (400, "badRequest")
    assert name in said


@pytest.mark.parametrize("moment", ["0001-01-01", "9999-12-31T23:59:59.999999"])
def test_extreme_time_is_compared(filled: World, moment: str) -> None:
    later = [] if moment.startswith("9") else list(PLACES)

    assert names(filled.client, "snapshots", created_at=f"gt:{moment}") == later


def test_snapshots_are_filtered_by_their_use_of_the_quota(filled: World) -> None:
    assert names(filled.client, "snapshots", consumes_quota="true") == ["first"]
    assert names(filled.client, "snapshots", consumes_quota="0") == ["second", "third", "last"]
    assert len(names(filled.client, "snapshots", "3.64", consumes_quota="true")) == 4
    assert len(names(filled.client, "volumes", consumes_quota="true")) == 4
    assert names(filled.client, "volumes", consumes_quota="False") == []


@pytest.mark.parametrize("query", ["host=storage-1@fast", "reference=disk@daily", "created_at=gte:2026-03-01"])
def test_count_and_pages_respect_the_filters(filled: World, query: str) -> None:
    whole = filled.client.get(f"snapshots?{query}&with_count=1", version=LATEST).json()
    page = filled.client.get(f"snapshots?{query}&limit=1", version=LATEST).json()

    seen = [*page["snapshots"]]
    while "snapshots_links" in page:
        assert len(seen) < 100, "the pages go round in circles"
        address = page["snapshots_links"][0]["href"].removeprefix(filled.client.root)
        page = filled.client.get(address, version=LATEST).json()
        seen += page["snapshots"]
    assert (seen, len(seen)) == (whole["snapshots"], whole["count"])


@pytest.mark.parametrize("path", [*RECORDS, "messages"])
@pytest.mark.parametrize("query", ["states=error", "size~=1", "foo=bar&status=error", "STATUS=error"])
def test_unknown_parameter_is_refused_with_the_known_ones(filled: World, path: str, query: str) -> None:
    status, name, text = fault(filled.client.get(f"{path}?{query}", version="3.5"))

    assert (status, name) == (400, "badRequest")
    assert f"Unknown parameter '{query.partition('=')[0]}'" in text
    assert "sort_dir" in text
    assert "all_tenants" in text


def test_misspelled_parameter_is_refused_with_the_right_name(filled: World) -> None:
    assert "did you mean status?" in fault(filled.client.get("snapshots?states=error"))[2]


@pytest.mark.parametrize("path", [*RECORDS, "messages"])
@pytest.mark.parametrize("query", ["_=1", "=", ";", "limit=1&&"])
def test_parameter_without_a_name_is_ignored(filled: World, path: str, query: str) -> None:
    assert filled.client.get(f"{path}?{query}", version="3.5").status_code == 200


# Parameters of the cinder and openstack clients, openstacksdk, gophercloud and Horizon.
SENT = {
    "snapshots": "all_tenants project_id name display_name status volume_id metadata availability_zone limit marker "
    "offset sort sort_key sort_dir with_count created_at updated_at user_id consumes_quota group_snapshot_id name~ "
    "status~",
    "volumes": "all_tenants project_id name display_name status metadata bootable migration_status availability_zone "
    "group_id size limit marker offset sort sort_key sort_dir with_count created_at updated_at user_id consumes_quota "
    "glance_metadata host multiattach encrypted consistencygroup_id volume_type_id snapshot_id source_volid name~",
    "messages": "all_tenants project_id resource_uuid resource_type event_id message_level request_id limit marker "
    "offset sort sort_key sort_dir",
    "limits": "project_id tenant_id reserved",
    "os-services": "host binary",
    "scheduler-stats/get_pools": "detail name",
    "os-quota-sets/0123456789abcdef0123456789abcdef": "usage",
}
VALUES = {
    "metadata": "{'k': 'v'}",
    "host": "a@b",
    "sort": "created_at:desc",
    "sort_key": "created_at",
    "sort_dir": "asc",
    "created_at": "gt:2026-01-01",
    "updated_at": "gt:2026-01-01",
}


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, sent in SENT.items() for name in sent.split()])
@pytest.mark.parametrize("version", ["3.5", LATEST])
def test_parameter_that_clients_send_is_accepted(filled: World, path: str, name: str, version: str) -> None:
    if name == "marker":
        return
    answer = filled.client.get(path, version=version, params={name: VALUES.get(name, "1")})

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "path", ["os-snapshot-manage", "manageable_snapshots/detail", "os-volume-manage", "manageable_volumes/detail"]
)
def test_list_of_manageable_objects_ignores_unknown_parameters_but_no_misspelled_one(filled: World, path: str) -> None:
    """The Block Storage API ignores unknown parameters there, but a misspelled filter would show too many entries."""
    ignored = filled.client.get(f"{path}?host=storage-1@fast&foo=bar", version=LATEST)
    misspelled = filled.client.get(f"{path}?host=storage-1@fast&safe_to_mange=true", version=LATEST)

    assert ignored.status_code == 200
    assert "did you mean safe_to_manage?" in fault(misspelled)[2]
