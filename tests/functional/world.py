"""snapmanage in one process, with its API on a real port of the loopback.

A `World` has a database, the in-process bus, a relay, the audit listener, a server of each backend, and HTTP.
A `Client` sends requests to it, like any client.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from oslo_config import cfg
from sqlalchemy import select

from snapmanage.api import app as wsgi
from snapmanage.api.access.callers import Authenticate
from snapmanage.api.access.noauth import NoAuth
from snapmanage.api.access.policy import Policy
from snapmanage.api.request import Limits, Service
from snapmanage.api.serving.server import HttpServer
from snapmanage.api.waiting_lists import ListingLimits, Listings, Searches, SearchLimits
from snapmanage.audit.listener import Listener
from snapmanage.core import services as heartbeats
from snapmanage.core.records import Snapshot
from snapmanage.core.values.retry import Retry
from snapmanage.drivers.fake import FakeDriver
from snapmanage.drivers.protocol import Driver
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.rules import Rules
from snapmanage.relay import Relay
from snapmanage.store import outbox, records, services
from snapmanage.store.audit import log
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import Database, connect
from snapmanage.store.mapping import tables
from snapmanage.testing.clock import FakeClock
from snapmanage.testing.waiting import until
from snapmanage.volume.limits import BackendLimits
from snapmanage.volume.server import VolumeServer
from tests.functional.client import PROJECT, SERVER, Client
from tests.functional.databases import sqlite
from tests.functional.parts import NAMES, HangingStep, SwitchedBus

OTHER_PROJECT = "f" * 32
VOLUME = "volume-1"
# The server sends one heartbeat, when it starts, and counts as down only after an hour: tests move the clock instead.
RULES = Rules(retry=Retry(3, timedelta(minutes=1), timedelta(minutes=1)), service_down=timedelta(hours=1))
ONE_BEAT = 3600.0
PACE = BackendLimits(scan_interval_seconds=0.02)


@dataclass(frozen=True)
class World:
    """All parts of snapmanage, and the actions of a test on them."""

    db: Database
    clock: FakeClock
    bus: SwitchedBus
    relay: Relay
    app: Application
    server: VolumeServer
    backends: Mapping[str, Driver]
    client: Client

    @property
    def driver(self) -> Any:
        """Return the driver of the only backend."""
        [driver] = self.backends.values()
        return driver

    def register_volume(self, name: Any = VOLUME, /, **fields: Any) -> str:
        """Register a volume, and return its id once it is available."""
        answer = self.client.manage_volume(name, **fields)
        assert answer.status_code == 202, answer.text
        volume_id: str = answer.json()["volume"]["id"]
        until(lambda: self.client.volume(volume_id)["status"] == "available", f"volume {name} to be available")
        return volume_id

    def request_manage(self, volume_id: str, ref: Any, **fields: Any) -> str:
        """Request to manage a snapshot, and return its id."""
        answer = self.client.manage(volume_id, ref, **fields)
        assert answer.status_code == 202, answer.text
        snapshot_id: str = answer.json()["snapshot"]["id"]
        return snapshot_id

    def manage_snapshot(self, volume_id: str, ref: Any, **fields: Any) -> str:
        """Manage a snapshot, and return its id once it is available."""
        snapshot_id = self.request_manage(volume_id, ref, **fields)
        assert self.await_settled(snapshot_id)["status"] == "available"
        return snapshot_id

    def await_settled(self, snapshot_id: str) -> dict[str, Any]:
        """Return the snapshot that the API shows once its operation is settled."""

        def look() -> dict[str, Any] | None:
            shown = self.client.snapshot(snapshot_id)
            return shown if shown["status"] in ("available", "error") else None

        return until(look, f"snapshot {snapshot_id} to be settled") or {}

    def await_failed_attempt(self, snapshot_id: str, attempt: int) -> Snapshot:
        """Return the record of a snapshot once attempt `attempt` has failed and the next one waits for its time."""

        def look() -> Snapshot | None:
            record = self.record(snapshot_id)
            return record if (record.attempt, record.claimed_by) == (attempt, None) and record.reason else None

        found = until(look, f"attempt {attempt} at {snapshot_id} to fail")
        assert found is not None
        return found

    def await_unmanaged(self, snapshot_id: str) -> None:
        """Wait until the API no longer shows the snapshot."""
        until(lambda: self.client.get(f"snapshots/{snapshot_id}").status_code == 404, f"{snapshot_id} to be gone")

    def record(self, snapshot_id: str) -> Snapshot:
        """Return the record or the tombstone of a snapshot from the database."""
        with self.db.read() as conn:
            found = records.get(conn, Snapshot, snapshot_id, deleted=True)
        assert found is not None, snapshot_id
        return found

    def audited_events(self, snapshot_id: str, ending: str = "") -> list[str]:
        """Return the types of a snapshot's events in the audit log, once one of them ends with `ending`."""

        def look() -> list[str]:
            with self.db.read() as conn:
                event_types = [entry.event_type for entry in log.of_snapshot(conn, snapshot_id)]
            return event_types if any(kind.endswith(ending) for kind in event_types) else []

        return until(look, f"an event {ending} of {snapshot_id}")

    def await_retries(self, record_id: str, times: int) -> None:
        """Wait until the outbox has retried the record's cast `times` times since the server last started."""
        query = select(tables.outbox.c.sends).where(tables.outbox.c.record_id == record_id)

        def sends() -> int:
            with self.db.read() as conn:
                return int(conn.execute(query).scalar_one())

        until(lambda: sends() >= times, f"{times} retries of the cast")

    def await_empty_outbox(self) -> None:
        """Wait until the outbox is empty."""

        def left() -> int:
            with self.db.read() as conn:
                return outbox.waiting(conn)

        until(lambda: left() == 0, "the outbox to be empty")

    def add_heartbeat(self, server: str) -> None:
        """Write a heartbeat of a server that doesn't run."""
        self.db.write(lambda conn, now: services.beat(conn, heartbeats.Service(server, "fake", now)))

    def disable(self, server: str, reason: str | None) -> None:
        self.db.write(lambda conn, _: services.disable(conn, server, reason))

    def fail_at(self, failures: Mapping[str, Exception]) -> None:
        """Let steps of the driver raise errors from now on."""

        def hook(step: str) -> None:
            if step in failures:
                raise failures[step]

        self.driver.hook = hook

    def record_steps(self, step: str) -> list[str]:
        """Return a list that grows each time that the driver reaches a step."""
        passed: list[str] = []
        self.driver.hook = lambda at: passed.append(at) if at == step else None
        return passed

    def hang_at(self, step: str, of: str = SERVER) -> HangingStep:
        """Return a context in which a driver hangs at a step, the next time that it reaches it."""
        return HangingStep(self.backends[of], step)

    def record_events(self) -> list[str]:
        """Return a list that collects the types of all later events."""
        return self.bus.record_event_types(NAMES.event_keys())

    def another_server(self, driver: Driver | None = None) -> VolumeServer:
        """Start another server of the same backend, or of `driver`; the test has to drain it."""
        [name] = self.backends
        server = VolumeServer(self.app, self.bus, NAMES, _served({name: driver or self.driver}), ONE_BEAT)
        server.start()
        return server

    def another_client(self, project: str = PROJECT, version: str | None = None) -> Client:
        return Client(self.client.root.removeprefix("http://"), project, version)


def default_policy() -> Policy:
    """Return the policies without a policy file."""
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    return Policy(conf)


@contextmanager
def running_world(
    folder: Path,
    backends: Mapping[str, Driver] | None = None,
    rules: Rules = RULES,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    backend_limits: BackendLimits = PACE,
    listing_limits: ListingLimits = ListingLimits(),  # noqa: B008 - frozen
    call_timeout_seconds: float = 20,
    heartbeat_seconds: float = ONE_BEAT,
    authenticate: Authenticate = NoAuth(),  # noqa: B008 - frozen
    policy: Policy | None = None,
    around: Callable[[Any], Any] = lambda application: application,
    url: str | None = None,
    relay_interval_seconds: float = 0.05,
    searches: Searches | None = None,
) -> Iterator[World]:
    """Run a world with one fake backend unless others are given; `around` wraps its API.

    The database is a SQLite file unless `url` names another one, which must be empty.
    """
    clock = FakeClock()
    db = Database(connect(url or sqlite(folder)).engine, clock)
    if url:
        schema.sync(db.engine)
    bus = SwitchedBus(NAMES, call_timeout_seconds)
    relay = Relay(db, bus, NAMES, interval_seconds=relay_interval_seconds)
    app = Application(db, OutboxWriter(relay.nudge, timedelta(seconds=5)), rules)
    backends = backends or {SERVER: FakeDriver()}
    server = VolumeServer(app, bus, NAMES, _served(backends, backend_limits), heartbeat_seconds)
    with HttpServer("127.0.0.1", 0, threads=4) as http:
        bus.consume(NAMES.event_keys(), Listener(db))
        relay.start()
        server.start()
        listings, searches = Listings(listing_limits), searches or Searches(SearchLimits())
        service = Service(app, bus, limits, authenticate, policy or default_policy(), listings, searches)
        application = wsgi.build(service)
        http.start(around(application), limits.body)
        client = Client(http.address)
        try:
            yield World(db, clock, bus, relay, app, server, backends, client)
        finally:
            client.close()
            server.drain(timeout_seconds=10)
            relay.stop()
            bus.close()
            db.close()


def _served(
    backends: Mapping[str, Driver], limits: BackendLimits = PACE
) -> dict[str, tuple[str, Driver, BackendLimits]]:
    return {server: ("fake", driver, limits) for server, driver in backends.items()}


def five_snapshots(world: World) -> list[str]:
    """Create five snapshots in error, and return their ids, newest first."""
    volume = world.register_volume()
    made = [world.request_manage(volume, f"nowhere-{number}", name=f"n{number}") for number in range(5)]
    for snapshot_id in made:
        world.await_settled(snapshot_id)
    return made[::-1]
