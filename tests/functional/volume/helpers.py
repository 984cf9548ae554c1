"""Casts to a server and the parts that its tests share."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select

from snapmanage.bus import Publication, envelope
from snapmanage.drivers.fake import FakeDriver
from snapmanage.drivers.protocol import Driver
from snapmanage.store.mapping import tables
from snapmanage.volume.server import VolumeServer
from snapmanage.volume.worker import Worker
from tests.functional.client import SERVER
from tests.functional.parts import NAMES
from tests.functional.world import World

SNAPSHOT = "volume-1-snapshot-1"
OTHERS = ("volume-1-snapshot-2", "volume-1-snapshot-3")


class CountingDriver(FakeDriver):
    """A driver that records its renames."""

    def __init__(self) -> None:
        super().__init__()
        self.renames: list[tuple[str, str]] = []

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        self.renames.append((old, new))


@contextmanager
def another_server(world: World, driver: Driver | None = None) -> Iterator[VolumeServer]:
    server = world.another_server(driver)
    try:
        yield server
    finally:
        server.drain(timeout_seconds=10)


def request(method: str, version: str = "1.0", **arguments: Any) -> bytes:
    """Return the message of a cast or a call."""
    return envelope.request(method, arguments, {}, uuid.uuid4().hex, version=version)


def publish(world: World, *bodies: bytes, queue: str | None = None) -> None:
    """Put messages on the server's queue as one batch, and wait until they are acknowledged."""
    sent = [Publication(str(uuid.uuid4()), queue or NAMES.server_queue(SERVER), body, True) for body in bodies]
    assert world.bus.send(sent) == {publication.message_id for publication in sent}


def quarantined(world: World) -> list[Any]:
    with world.db.read() as conn:
        return list(conn.execute(select(tables.quarantine)))


def count_threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def count_workers() -> int:
    return count_threads(f"worker {SERVER}")


def worker_of(world: World) -> Worker:
    """Return the worker of the only backend."""
    return world.server.workers[SERVER]


def snapshot_names(world: World) -> set[str]:
    return {seen.name for seen in world.driver.list_snapshots()}


def refuse_threads(patch: pytest.MonkeyPatch, kind: str) -> list[str]:
    """Refuse to start threads with this name; return the list of the refused ones."""
    start, refused = threading.Thread.start, list[str]()

    def start_unless_refused(thread: threading.Thread) -> None:
        if thread.name.startswith(kind):
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    patch.setattr(threading.Thread, "start", start_unless_refused)
    return refused


def upstream_request(**arguments: Any) -> bytes:
    """Return the cast of an upstream API that keeps its own records."""
    known = {
        "snapshot_id": str(uuid.UUID(int=5)),
        "volume_id": str(uuid.UUID(int=6)),
        "ref": {"source-name": SNAPSHOT},
        "project_id": "p" * 32,
    }
    return request("manage_snapshot", **known | arguments)
