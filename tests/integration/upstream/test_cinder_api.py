"""Requests to Cinder's own API, which snapmanage carries out and reports."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from snapmanage.testing.services.deployment import Deployment, deployed
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import running
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.integration.rabbit.queues import ready_count
from tests.integration.upstream.conftest import VOLUME, lines
from tests.page_blocks import adapted, block
from tests.services.cinder import HOST, Cinder, behind_keystone
from tests.services.keystone import Keystone

QUEUES = (f"cinder-volume.{HOST}", f"cinder-volume.{HOST}.storage-1")


def test_snapshot_that_cinder_manages_becomes_available_and_can_be_unmanaged(
    cinder: Cinder, deployment: Deployment, storage: Path
) -> None:
    snapshot_id = cinder.manage(f"{VOLUME}@daily")
    cinder.await_status(snapshot_id, "available")
    assert (storage / f"{VOLUME}@snapshot-{snapshot_id}").exists()

    cinder.unmanage(snapshot_id)

    until((storage / f"{VOLUME}@daily").exists, "the old name to be back")
    until(lambda: snapshot_id in deployment.manage("upstream", "unmanaged").stdout, "the end of the unmanage")
    assert cinder.status(snapshot_id) == "unmanaging"
    assert deployment.manage("upstream", "list").stdout == ""
    statement = adapted(block("another-control-plane.md", "Remove unmanaged records", "UPDATE"), {"ID": snapshot_id})
    with closing(sqlite3.connect(cinder.folder / "cinder.db")) as database:
        database.executescript(statement)
    assert cinder.snapshots() == []


def test_snapshot_without_an_object_ends_in_error_in_cinder(cinder: Cinder, deployment: Deployment) -> None:
    snapshot_id = cinder.manage(f"{VOLUME}@no-such-snapshot")

    cinder.await_status(snapshot_id, "error")


def test_outcome_reaches_a_cinder_that_was_killed_meanwhile(
    cinder: Cinder, deployment: Deployment, storage: Path, rabbitmq: RabbitMQ
) -> None:
    snapshot_id = manage_without_a_server(cinder, deployment, rabbitmq)
    cinder.kill()
    deployment.daemons["volume"].start()
    until((storage / f"{VOLUME}@snapshot-{snapshot_id}").exists, "the snapshot to be managed")
    until(lambda: snapshot_id in deployment.manage("upstream", "list").stdout, "the outcome to wait")

    cinder.start()

    cinder.await_status(snapshot_id, "available", 90)


def test_outcome_is_reported_after_the_server_was_killed(
    cinder: Cinder, deployment: Deployment, storage: Path, rabbitmq: RabbitMQ
) -> None:
    snapshot_id = manage_without_a_server(cinder, deployment, rabbitmq)
    cinder.freeze()
    deployment.daemons["volume"].start()
    until((storage / f"{VOLUME}@snapshot-{snapshot_id}").exists, "the snapshot to be managed")
    until(lambda: snapshot_id in deployment.manage("upstream", "list").stdout, "the outcome to wait")
    deployment.daemons["volume"].kill()
    cinder.thaw()

    deployment.daemons["volume"].start()

    cinder.await_status(snapshot_id, "available", 90)


def manage_without_a_server(cinder: Cinder, deployment: Deployment, rabbitmq: RabbitMQ) -> str:
    """Kill snapmanage's server, and request to manage a snapshot; return once Cinder's scheduler has sent its cast."""
    deployment.daemons["volume"].kill()
    snapshot_id = cinder.manage(f"{VOLUME}@daily")
    until(lambda: sum(ready_count(rabbitmq, queue) for queue in QUEUES), "the cast to wait for its server")
    return snapshot_id


@pytest.fixture
def guarded(rabbitmq: RabbitMQ, exchange: str, keystone: Keystone) -> Iterator[Cinder]:
    with running(partial(behind_keystone, rabbitmq.url, exchange, keystone)) as service:
        yield service


def test_outcome_is_reported_with_a_token_of_another_project(
    guarded: Cinder,
    keystone: Keystone,
    rabbitmq: RabbitMQ,
    mariadb: MariaDB,
    exchange: str,
    storage: Path,
    tmp_path: Path,
) -> None:
    services = keystone.project()
    user_id, password = keystone.user("admin", services)
    credentials = (
        f"auth_type = password\nauth_url = {keystone.url}\nuser_id = {user_id}\npassword = {password}\n"
        f"project_id = {services}"
    )
    options = lines(storage, guarded, credentials)
    with deployed(tmp_path, rabbitmq.url, exchange, mariadb.database(), options) as deployment:
        snapshot_id = guarded.manage(f"{VOLUME}@daily")

        guarded.await_status(snapshot_id, "available")

        assert password not in (deployment.folder / "volume.log").read_text()
