"""The whole of snapmanage in one process, with its API on a real port of the loopback.

A `World` is a database, the in-process bus, a relay, the audit listener, a server for each of its
backends, and HTTP; a `Client` speaks to it as a stranger would.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
from oslo_config import cfg
from sqlalchemy import select

from snapmanage import errors
from snapmanage.api import app as wsgi
from snapmanage.api.access import callers
from snapmanage.api.access.callers import Authenticate
from snapmanage.api.access.policy import Policy
from snapmanage.api.request import Limits, Service
from snapmanage.api.serving.server import HttpServer
from snapmanage.audit import Listener
from snapmanage.bus import Delivery, Handle, Publication, envelope
from snapmanage.bus.inprocess import InProcessBus
from snapmanage.bus.names import Names
from snapmanage.core import services as service
from snapmanage.core.lifecycle import Retry
from snapmanage.core.records import Snapshot
from snapmanage.drivers.fake import FakeDriver
from snapmanage.drivers.protocol import Driver
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.rules import Rules
from snapmanage.relay import Relay
from snapmanage.store import audit, outbox, records, services, tables
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import Database, connect
from snapmanage.testing.clock import FakeClock
from snapmanage.testing.waiting import until
from snapmanage.volume.server import VolumeServer
from snapmanage.volume.worker import BackendLimits

PROJECT = "0123456789abcdef0123456789abcdef"
OTHER_PROJECT = "f" * 32
SERVER = "storage-1@fast"
VOLUME = "volume-1"
# The server beats once, when it starts, and nothing is overdue for an hour: tests move the clock instead.
RULES = Rules(retry=Retry(3, timedelta(minutes=1), timedelta(minutes=1)), service_down=timedelta(hours=1))
ONE_BEAT = 3600.0
PACE = BackendLimits(scan_interval_seconds=0.02)
NAMES = Names()


class QuickHttpServer(HttpServer):
    """Notices at once that it shall stop, where the real one looks up twice a second."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 0, threads=4)
        self._server.expiration_interval = 0.02


class SwitchedBus(InProcessBus):
    """A bus that a test may switch off."""

    away = False

    def send(self, publications: Sequence[Publication]) -> set[str]:
        if self.away:
            raise errors.Unavailable("the bus is away")
        return super().send(publications)

    def deliver(self, server: str, *batch: Delivery) -> None:
        """Hand a server something just as it came, even while the bus is away."""
        self._handlers[NAMES.server_queue(server)](batch)

    def listens(self, server: str) -> bool:
        """Whether anybody takes what is sent to a server."""
        return NAMES.server_queue(server) in self._handlers

    def ask(self, server: str, version: str, method: str, arguments: Mapping[str, Any]) -> Any:
        """Call a server in a version other than our own."""
        answered: Future[bytes] = Future()
        self._calls["asked"] = answered
        call = {"version": version, "_msg_id": "asked", "_reply_q": "asked"}
        body = envelope.request(method, arguments, {}, "asked", **call)
        assert self.send([Publication("asked", NAMES.server_queue(server), body, True)])
        return envelope.open_reply(answered.result(20))

    def overhear(self, queues: Sequence[str]) -> list[str]:
        """The types of the notifications on queues from now on; who listens there goes on listening."""
        heard: list[str] = []

        def overhearing(handle: Handle) -> Handle:
            def hear(batch: Sequence[Delivery]) -> None:
                handle(batch)
                heard.extend(envelope.unwrap(delivery.body)["event_type"] for delivery in batch)

            return hear

        for queue in queues:
            self._handlers[queue] = overhearing(self._handlers[queue])
        return heard


class Client:
    """Requests of one project, as they go over the wire; nothing is checked here."""

    def __init__(self, address: str, project: str = PROJECT, version: str | None = None) -> None:
        self.root = f"http://{address}"
        self.project = project
        self._version = version
        self._session = requests.Session()
        self._session.trust_env = False  # else requests looks for proxies and a netrc file for each request

    def close(self) -> None:
        self._session.close()

    def request(
        self, method: str, path: str, version: str | None = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> requests.Response:
        """A request for `path` of the project; one that begins with / is for the root."""
        url = f"{self.root}{path}" if path.startswith("/") else f"{self.root}/v3/{self.project}/{path}"
        asked = version or self._version
        spoken = {"OpenStack-API-Version": f"volume {asked}"} if asked else {}
        return self._session.request(method, url, headers=spoken | dict(headers or {}), timeout=30, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return self.request("POST", path, **more)

    def follow(self, url: str) -> dict[str, Any]:
        """What a link leads to."""
        answer = self.request("GET", url.removeprefix(self.root))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def manage(self, volume_id: str, ref: Any, **fields: Any) -> requests.Response:
        return self.post("os-snapshot-manage", json={"snapshot": {"volume_id": volume_id, "ref": ref} | fields})

    def manage_volume(self, ref: Any, host: Any = SERVER, **fields: Any) -> requests.Response:
        return self.post("os-volume-manage", json={"volume": {"host": host, "ref": ref} | fields})

    def unmanage(self, snapshot_id: str) -> requests.Response:
        return self.post(f"snapshots/{snapshot_id}/action", json={"os-unmanage": None})

    def snapshot(self, snapshot_id: str, version: str | None = None) -> dict[str, Any]:
        return self._shown(f"snapshots/{snapshot_id}", "snapshot", version)

    def volume(self, volume_id: str) -> dict[str, Any]:
        return self._shown(f"volumes/{volume_id}", "volume")

    def operation(self, snapshot_id: str) -> dict[str, Any]:
        return self._shown(f"snapshots/{snapshot_id}/operation", "operation")

    def messages(self, resource_id: str) -> list[dict[str, Any]]:
        answer = self.get("messages", version="3.5", params={"resource_uuid": resource_id})
        told: list[dict[str, Any]] = answer.json()["messages"]
        return told

    def manageable(self, host: str = SERVER, **parameters: Any) -> list[dict[str, Any]]:
        answer = self.get("os-snapshot-manage/detail", params={"host": host} | parameters)
        assert answer.status_code == 200, answer.text
        entries: list[dict[str, Any]] = answer.json()["manageable-snapshots"]
        return entries

    def _shown(self, path: str, kind: str, version: str | None = None) -> dict[str, Any]:
        answer = self.get(path, version=version)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()[kind]
        return shown


class Stuck:
    """A driver hangs at a step, the first time it gets there, until it is released or this is left."""

    def __init__(self, driver: Any, step: str) -> None:
        self._driver = driver
        self._step = step
        self._first = threading.Lock()
        self._reached = threading.Event()
        self._released = threading.Event()

    def reached(self) -> None:
        """Return once the call hangs."""
        assert self._reached.wait(20), f"nobody got to the step {self._step!r}"

    def release(self) -> None:
        self._released.set()

    def __enter__(self) -> "Stuck":
        self._driver.hook = self._hook
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _hook(self, step: str) -> None:
        if step == self._step and self._first.acquire(blocking=False):
            self._reached.set()
            self._released.wait(60)


@dataclass(frozen=True)
class World:
    """Everything, and what a test may do to it."""

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
        """The one backend there is."""
        [driver] = self.backends.values()
        return driver

    def known_volume(self, name: str = VOLUME, /, **fields: Any) -> str:
        """The id of a volume that is registered and available."""
        answer = self.client.manage_volume(name, **fields)
        assert answer.status_code == 202, answer.text
        volume_id: str = answer.json()["volume"]["id"]
        until(lambda: self.client.volume(volume_id)["status"] == "available", f"volume {name} to be available")
        return volume_id

    def asked(self, volume_id: str, ref: Any, **fields: Any) -> str:
        """The id of a snapshot that shall be managed."""
        answer = self.client.manage(volume_id, ref, **fields)
        assert answer.status_code == 202, answer.text
        snapshot_id: str = answer.json()["snapshot"]["id"]
        return snapshot_id

    def managed(self, volume_id: str, ref: Any, **fields: Any) -> str:
        """The id of a snapshot that is managed."""
        snapshot_id = self.asked(volume_id, ref, **fields)
        assert self.settled(snapshot_id)["status"] == "available"
        return snapshot_id

    def settled(self, snapshot_id: str) -> dict[str, Any]:
        """A snapshot as it is shown once its operation is over."""

        def look() -> dict[str, Any] | None:
            shown = self.client.snapshot(snapshot_id)
            return shown if shown["status"] in ("available", "error") else None

        return until(look, f"snapshot {snapshot_id} to be settled") or {}

    def resting(self, snapshot_id: str, attempt: int) -> Snapshot:
        """A snapshot once that attempt has failed and the next is awaited."""

        def look() -> Snapshot | None:
            record = self.record(snapshot_id)
            return record if (record.attempt, record.claimed_by) == (attempt, None) and record.reason else None

        found = until(look, f"attempt {attempt} at {snapshot_id} to fail")
        assert found is not None
        return found

    def given_back(self, snapshot_id: str) -> None:
        """Return once nobody is shown the snapshot any more."""
        until(lambda: self.client.get(f"snapshots/{snapshot_id}").status_code == 404, f"{snapshot_id} to be gone")

    def record(self, snapshot_id: str) -> Snapshot:
        """A snapshot as the database has it, its tombstone too."""
        with self.db.read() as conn:
            found = records.get(conn, Snapshot, snapshot_id, deleted=True)
        assert found is not None, snapshot_id
        return found

    def trail(self, snapshot_id: str, ending: str = "") -> list[str]:
        """The types of a snapshot's events as the audit log has them, once there is one that ends so."""

        def look() -> list[str]:
            with self.db.read() as conn:
                heard = [entry.event_type for entry in audit.of_snapshot(conn, snapshot_id)]
            return heard if any(kind.endswith(ending) for kind in heard) else []

        return until(look, f"an event {ending} of {snapshot_id}")

    def put_off(self, record_id: str, times: int) -> None:
        """Return once the cast that waits for a record's server was sent in vain so often since it came up last."""
        query = select(tables.outbox.c.sends).where(tables.outbox.c.record_id == record_id)

        def sends() -> int:
            with self.db.read() as conn:
                return int(conn.execute(query).scalar_one())

        until(lambda: sends() >= times, f"the cast to be put off {times} times")

    def carried(self) -> None:
        """Return once the outbox is empty."""

        def left() -> int:
            with self.db.read() as conn:
                return outbox.waiting(conn)

        until(lambda: left() == 0, "the outbox to be empty")

    def heard_of(self, server: str) -> None:
        """Let there be a heartbeat of a server that isn't there."""
        self.db.write(lambda conn, now: services.beat(conn, service.Service(server, "fake", now)))

    def disable(self, server: str, reason: str | None) -> None:
        self.db.write(lambda conn, _: services.disable(conn, server, reason))

    def failing(self, failures: Mapping[str, Exception]) -> None:
        """Let steps of the driver raise from now on."""

        def hook(step: str) -> None:
            if step in failures:
                raise failures[step]

        self.driver.hook = hook

    def counted(self, step: str) -> list[str]:
        """A list that grows with each time the driver gets to a step."""
        passed: list[str] = []
        self.driver.hook = lambda at: passed.append(at) if at == step else None
        return passed

    def stuck(self, step: str, of: str = SERVER) -> Stuck:
        """A context in which a driver hangs at a step, the next time it gets there."""
        return Stuck(self.backends[of], step)

    def overheard(self) -> list[str]:
        """The types of all events from now on."""
        return self.bus.overhear(NAMES.audited_queues())

    def another_server(self, driver: Driver | None = None) -> VolumeServer:
        """One more process that serves the same backend, or a backend as another process sees it; to be drained."""
        [name] = self.backends
        server = VolumeServer(self.app, self.bus, NAMES, _served({name: driver or self.driver}), ONE_BEAT)
        server.start()
        return server

    def another_client(self, project: str = PROJECT, version: str | None = None) -> Client:
        return Client(self.client.root.removeprefix("http://"), project, version)


def default_policy() -> Policy:
    """The policies as they are without a file."""
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    return Policy(conf)


def sqlite(folder: Path) -> str:
    """Return the URL of the SQLite database in a folder; make it with the current schema if it is missing."""
    file = folder / "snapmanage.db"
    if not file.exists():
        file.write_bytes(_migrated())
    return f"sqlite:///{file}"


@cache
def _migrated() -> bytes:
    """Return the content of a migrated SQLite file; the migrations take longer than many tests."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "snapmanage.db"
        db = connect(f"sqlite:///{file}")
        schema.sync(db.engine)
        db.close()
        return file.read_bytes()


@contextmanager
def a_world(
    folder: Path,
    backends: Mapping[str, Driver] | None = None,
    rules: Rules = RULES,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    backend_limits: BackendLimits = PACE,
    call_timeout_seconds: float = 20,
    heartbeat_seconds: float = ONE_BEAT,
    authenticate: Authenticate = callers.noauth,
    policy: Policy | None = None,
    around: Callable[[Any], Any] = lambda application: application,
    url: str | None = None,
    relay_interval_seconds: float = 0.05,
) -> Iterator[World]:
    """A world that is up; with one fake backend unless others are given, and its API inside of `around`.

    It lives in a SQLite file unless `url` names another database, which is empty.
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
    with QuickHttpServer() as http:
        bus.consume(NAMES.audited_queues(), Listener(db))
        relay.start()
        server.start()
        application = wsgi.build(Service(app, bus, limits, authenticate, policy or default_policy()))
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
    """The ids of five snapshots in error, newest first."""
    volume = world.known_volume()
    made = [world.asked(volume, f"nowhere-{number}", name=f"n{number}") for number in range(5)]
    for snapshot_id in made:
        world.settled(snapshot_id)
    return made[::-1]


def fault(answer: requests.Response) -> tuple[int, str, str]:
    """Status, name and text of an error, which always has the one shape."""
    [(name, said)] = answer.json().items()
    assert said.keys() == {"code", "message"}
    assert said["code"] == answer.status_code
    assert "Traceback" not in answer.text
    assert answer.headers["X-Openstack-Request-Id"].startswith("req-")
    return answer.status_code, name, said["message"]
