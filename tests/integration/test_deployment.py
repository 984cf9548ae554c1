"""Separate processes with a real broker, real databases and real lvm2."""

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
from tests.services.network.wiretap import Wiretap

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
    """Return the output of `audit verify`; an empty text unless it reports `rows` rows and no fault."""
    verified = deployment.manage("audit", "verify")
    return verified.stdout if verified.returncode == 0 and f"{rows} rows" in verified.stdout else ""


def test_snapshot_of_a_real_group_is_managed_announced_audited_and_unmanaged(
    deployment: Deployment, group: MetadataGroup, tap: Wiretap
) -> None:
    volume_id = deployment.register("volume-a")
    listed = deployment.get(f"/os-snapshot-manage/detail?host={SERVER}")["manageable-snapshots"]
    assert {entry["reference"]["source-name"] for entry in listed if entry["safe_to_manage"]} >= {"daily", "weekly"}

    snapshot_id = deployment.request_manage(volume_id, "daily")

    assert deployment.await_settled(snapshot_id) == "available"
    assert f"_snapshot-{snapshot_id}" in group.names()
    assert "daily" not in group.names()
    until(lambda: len(tap.notifications_about(snapshot_id)) == 2, "both events on the wire")
    start, end = tap.notifications_about(snapshot_id)
    check_on_the_wire(start, "snapshot.manage.start", status="creating")
    check_on_the_wire(end, "snapshot.manage.end", status="available", backend_name=f"_snapshot-{snapshot_id}")
    audited = deployment.audited_events(snapshot_id, "snapshot.manage.end")
    assert [event["event_id"] for event in audited] == [each["payload"]["event_id"] for each in (start, end)]

    deployment.post(f"/snapshots/{snapshot_id}/action", {"os-unmanage": {}})

    until(lambda: "daily" in group.names(), "the original name to be restored")
    until(lambda: len(tap.notifications_about(snapshot_id)) == 4, "the events of unmanaging on the wire")
    check_on_the_wire(
        tap.notifications_about(snapshot_id)[3], "snapshot.unmanage.end", status="deleted", backend_name="daily"
    )
    verified = until(lambda: verify(deployment, rows=4), "the audit log to be complete")
    assert "4 rows" in verified


@pytest.mark.parametrize(
    ("source", "code"),
    [("no-such-snapshot", "source_not_found"), ("foreign", "wrong_volume"), ("volume-b", "not_a_snapshot")],
)
def test_bad_reference_ends_in_error_with_its_reason_in_operation_message_and_event(
    deployment: Deployment, group: MetadataGroup, tap: Wiretap, source: str, code: str
) -> None:
    volume_id = deployment.register("volume-a")
    before = group.names()

    snapshot_id = deployment.request_manage(volume_id, source)

    assert deployment.await_settled(snapshot_id) == "error"
    assert group.names() == before
    operation = deployment.get(f"/snapshots/{snapshot_id}/operation")["operation"]
    assert operation["reason_code"] == code
    messages = deployment.get(f"/messages?resource_uuid={snapshot_id}")["messages"]
    assert [operation["reason"] in message["user_message"] for message in messages] == [True]
    until(lambda: len(tap.notifications_about(snapshot_id)) == 2, "both events on the wire")
    start, error = tap.notifications_about(snapshot_id)
    check_on_the_wire(start, "snapshot.manage.start", status="creating")
    check_on_the_wire(error, "snapshot.manage.error", "ERROR", status="error")
    assert error["payload"]["reason"] == {"code": code, "text": operation["reason"]}


def test_all_processes_exit_with_0_after_sigterm(deployment: Deployment) -> None:
    exits = {name: deployment.daemons[name].stop() for name in ("api", "volume", "audit")}

    assert exits == {"api": 0, "volume": 0, "audit": 0}


def test_separate_relay_sends_the_messages_of_processes_without_a_relay(
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

        snapshot_id = running.request_manage(running.register("disk"), "disk@daily")

        assert running.await_settled(snapshot_id) == "available"
        assert running.audited_events(snapshot_id, "snapshot.manage.end")
        assert {name: daemon.stop() for name, daemon in running.daemons.items()} == dict.fromkeys(STARTED, 0)
