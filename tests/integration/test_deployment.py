"""The whole way with separate processes, a real broker, real databases and real lvm2."""

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from snapmanage.testing import needs
from snapmanage.testing.services.deployment import SERVER, Deployment, Surroundings, deployed
from snapmanage.testing.services.lvm_metadata import MetadataGroup, metadata_group
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.services.wiretap import Wiretap

STARTED = ("audit", "volume", "api", "relay")
SCHEMA = json.loads(resources.files("snapmanage.core").joinpath("event.schema.json").read_text())


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MetadataGroup]:
    needs.require("lvs", "losetup", root=True)
    (tmp_path / "lvm").mkdir()
    with metadata_group(tmp_path / "lvm", unique("vg")) as made:
        made.add_volumes("volume-a", "volume-b")
        made.add_thick_snapshots("volume-a", "daily", "weekly")
        made.add_thick_snapshots("volume-b", "foreign")
        yield made


@pytest.fixture(params=["mariadb", "postgresql"])
def deployment(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    rabbitmq: RabbitMQ,
    exchange: str,
    tap: Wiretap,
    group: MetadataGroup,
) -> Iterator[Deployment]:
    database_url = request.getfixturevalue(request.param).database()
    backend = f"driver = lvm\nvolume_group = {group.name}\nlvm_system_dir = {group.system_dir}\n"
    with deployed(tmp_path, rabbitmq.url, exchange, database_url, backend) as running:
        yield running


def test_snapshot_of_a_real_group_is_managed_announced_audited_and_given_back(
    deployment: Deployment, group: MetadataGroup, tap: Wiretap
) -> None:
    volume_id = deployment.register("volume-a")
    listed = deployment.get(f"/os-snapshot-manage/detail?host={SERVER}")["manageable-snapshots"]
    assert {entry["reference"]["source-name"] for entry in listed if entry["safe_to_manage"]} >= {"daily", "weekly"}

    snapshot_id = deployment.ask(volume_id, "daily")

    assert deployment.settled(snapshot_id) == "available"
    assert f"_snapshot-{snapshot_id}" in group.names()
    assert "daily" not in group.names()
    until(lambda: len(tap.of(snapshot_id)) == 2, "both events on the wire")
    start, end = tap.of(snapshot_id)
    check_on_the_wire(start, "snapshot.manage.start", status="creating")
    check_on_the_wire(end, "snapshot.manage.end", status="available", backend_name=f"_snapshot-{snapshot_id}")
    audited = deployment.trail(snapshot_id, "snapshot.manage.end")
    assert [event["event_id"] for event in audited] == [each["payload"]["event_id"] for each in (start, end)]

    deployment.post(f"/snapshots/{snapshot_id}/action", {"os-unmanage": {}})

    until(lambda: "daily" in group.names(), "the old name to be back")
    until(lambda: len(tap.of(snapshot_id)) == 4, "the events of giving back on the wire")
    check_on_the_wire(tap.of(snapshot_id)[3], "snapshot.unmanage.end", status="deleted", backend_name="daily")
    verified = until(lambda: verify(deployment, rows=4), "the audit log to be whole")
    assert "4 rows" in verified


@pytest.mark.parametrize(
    ("source", "code"),
    [("no-such-snapshot", "source_not_found"), ("foreign", "wrong_volume"), ("volume-b", "not_a_snapshot")],
)
def test_bad_reference_ends_in_error_and_says_why_everywhere(
    deployment: Deployment, group: MetadataGroup, tap: Wiretap, source: str, code: str
) -> None:
    volume_id = deployment.register("volume-a")
    before = group.names()

    snapshot_id = deployment.ask(volume_id, source)

    assert deployment.settled(snapshot_id) == "error"
    assert group.names() == before
    operation = deployment.get(f"/snapshots/{snapshot_id}/operation")["operation"]
    assert operation["reason_code"] == code
    messages = deployment.get(f"/messages?resource_uuid={snapshot_id}")["messages"]
    assert [operation["reason"] in message["user_message"] for message in messages] == [True]
    until(lambda: len(tap.of(snapshot_id)) == 2, "both events on the wire")
    start, error = tap.of(snapshot_id)
    check_on_the_wire(start, "snapshot.manage.start", status="creating")
    check_on_the_wire(error, "snapshot.manage.error", "ERROR", status="error")
    assert error["payload"]["reason"] == {"code": code, "text": operation["reason"]}


def test_all_processes_leave_in_order_when_told_to(deployment: Deployment) -> None:
    exits = {name: deployment.daemons[name].stop() for name in ("api", "volume", "audit")}

    assert exits == {"api": 0, "volume": 0, "audit": 0}


def test_relay_of_its_own_carries_what_the_others_do_not(
    tmp_path: Path, rabbitmq: RabbitMQ, mariadb: MariaDB, exchange: str
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("disk", "disk@daily"):
        (images / name).write_bytes(b"data")
    backend = f"driver = file\ndirectory = {images}\n[relay]\nin_process = false\ninterval_seconds = 0.1\n"
    as_installed = Surroundings(["env"])
    with deployed(tmp_path, rabbitmq.url, exchange, mariadb.database(), backend, surroundings=as_installed) as running:
        relay = running.daemon("relay")
        relay.start()

        snapshot_id = running.ask(running.register("disk"), "disk@daily")

        assert running.settled(snapshot_id) == "available"
        assert running.trail(snapshot_id, "snapshot.manage.end")
        assert {name: daemon.stop() for name, daemon in running.daemons.items()} == dict.fromkeys(STARTED, 0)


def check_on_the_wire(notification: dict[str, object], event_type: str, priority: str = "INFO", **fields: str) -> None:
    payload = notification["payload"]
    assert isinstance(payload, dict)
    assert notification["event_type"] == event_type
    assert notification["priority"] == priority
    assert notification["publisher_id"] == f"snapshot.{SERVER}"
    assert not [name for name in notification if "token" in name]
    jsonschema.validate(payload, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert {name: payload[name] for name in fields} == fields


def verify(deployment: Deployment, rows: int) -> str:
    """What `audit verify` says, once it has nothing to say against that many rows."""
    verified = deployment.manage("audit", "verify")
    return verified.stdout if verified.returncode == 0 and f"{rows} rows" in verified.stdout else ""
