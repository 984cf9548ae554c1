"""A driver may list names in another encoding; one of them hides no other snapshot, and is refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from snapmanage.core.backend import BackendSnapshot
from snapmanage.core.reference import Reference
from snapmanage.drivers.fake import FakeDriver
from tests.functional.world import World, running_world

SERVER = "storage-1@fast"
FOREIGN = {"daily": "caf\udce9", "weekly": "a\0b"}


class NamingDriver(FakeDriver):
    """A backend whose snapshots have no ids, and names of any bytes."""

    def list_snapshots(self) -> list[BackendSnapshot]:
        return list(map(foreign, super().list_snapshots()))

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        return foreign(super().find_snapshot(reference, volume))


def foreign(found: BackendSnapshot) -> BackendSnapshot:
    name = FOREIGN.get(found.name, found.name)
    return replace(found, name=name, identity=f"name {name}")


@pytest.fixture
def named(tmp_path: Path) -> Iterator[World]:
    driver = NamingDriver(fake_snapshots=0)
    for name in (*FOREIGN, "hourly"):
        driver.add_snapshot("volume-1", name)
    with running_world(tmp_path, {SERVER: driver}) as world:
        yield world


def test_name_that_no_database_keeps_is_listed_escaped_and_unusable(named: World) -> None:
    listed = {each["reference"]["source-name"]: each for each in named.client.manageable()}

    assert {name: each["safe_to_manage"] for name, each in listed.items()} == {
        "caf\\udce9": False,
        "a\\x00b": False,
        "hourly": True,
    }
    assert "rename it on the backend" in listed["a\\x00b"]["reason_not_safe"]


@pytest.mark.parametrize("name", FOREIGN)
def test_snapshot_with_such_a_name_is_refused_at_once(named: World, name: str) -> None:
    volume = named.register_volume("volume-1")

    snapshot = named.request_manage(volume, name)

    assert named.await_settled(snapshot)["status"] == "error"
    [message] = named.client.messages(snapshot)
    assert "rename it on the backend" in message["user_message"]
