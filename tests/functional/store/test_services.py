"""Servers and their heartbeats."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from snapmanage.core.services import Service
from snapmanage.store import services
from snapmanage.store.engine.database import Database
from snapmanage.testing.clock import FakeClock
from tests.examples import SERVER


def test_heartbeat_moves_and_leaves_a_disabled_server_disabled(database: Database, clock: FakeClock) -> None:
    def beat(conn: Connection, now: datetime) -> None:
        services.beat(conn, Service(SERVER, "fake", now, protects_origins=True))

    database.write(beat)
    assert database.write(lambda conn, _: services.disable(conn, SERVER, "new disks"))
    later = clock.advance(seconds=10)
    database.write(beat)

    with database.read() as conn:
        assert services.all_of(conn) == [Service(SERVER, "fake", later, "new disks", protects_origins=True)]
        assert services.get(conn, "storage-2@fast") is None
    assert not database.write(lambda conn, _: services.disable(conn, "storage-2@fast", None))


def beat(server: str, conn: Connection, now: datetime) -> None:
    services.beat(conn, Service(server, "fake", now))


def test_name_with_a_blank_at_its_end_is_unknown(database: Database, clock: FakeClock) -> None:
    database.write(partial(beat, SERVER))

    with database.read() as conn:
        assert services.get(conn, SERVER) == Service(SERVER, "fake", clock.now)
        assert services.get(conn, f"{SERVER} ") is None


def test_two_processes_of_one_server_may_start_at_the_same_time(database: Database) -> None:
    barrier = threading.Barrier(2)

    def come_up(process: int) -> None:
        for number in range(50):
            barrier.wait(20)
            database.write(partial(beat, f"{number}@fast"))

    with ThreadPoolExecutor(2) as processes:
        list(processes.map(come_up, range(2)))

    with database.read() as conn:
        assert len(services.all_of(conn)) == 50


def test_servers_of_a_host_are_those_whose_name_begins_with_it(database: Database) -> None:
    for server in ("a_b@x", "a_b@y", "aXb@x", "a_b2@x"):
        database.write(lambda conn, now, server=server: services.beat(conn, Service(server, "fake", now)))  # type: ignore[misc]

    with database.read() as conn:
        assert services.on_host(conn, "a_b") == ["a_b@x", "a_b@y"]
