"""Start and drain the servers of one process, and write their heartbeats."""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, wait
from datetime import datetime
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from snapmanage import crash, errors
from snapmanage.bus import Bus, Consumer
from snapmanage.bus.names import Names
from snapmanage.core.backend import BackendSnapshot
from snapmanage.core.lists.filters import Page
from snapmanage.core.lists.manageable import Assessment
from snapmanage.core.origins.protection import BackendOrigins
from snapmanage.core.readiness import Check
from snapmanage.core.services import Service
from snapmanage.core.values.logfields import fields
from snapmanage.crash import Point
from snapmanage.drivers.protocol import Driver
from snapmanage.drivers.system.deadline import BoundedCalls
from snapmanage.manage import manageable, ownership
from snapmanage.manage.application import Application
from snapmanage.manage.maintenance.redelivery import PoisonMessageGuard
from snapmanage.manage.transaction import Transaction
from snapmanage.pulse import Pulse
from snapmanage.store import outbox, services
from snapmanage.volume import steps
from snapmanage.volume.callers import Callers
from snapmanage.volume.cinder_dialect import CinderEndpoint
from snapmanage.volume.due_scan import DueScan
from snapmanage.volume.endpoint import Endpoint, ManageableLists
from snapmanage.volume.intake import Intake
from snapmanage.volume.limits import BackendLimits
from snapmanage.volume.scans import BackendScans, KeptScans
from snapmanage.volume.worker import Worker

LOG = logging.getLogger(__name__)

# A start waits this long for the backends to answer; a backend that answers later is served later.
START_SECONDS = 10
# A snapshot that no backend has, to see whether a driver gives new names.
_PROBE = BackendSnapshot("volume@probe", "probe", 0, "volume", "volume")


class VolumeServer:
    """Serve the backends of a process.

    `backends` maps the name of each server (`host@backend`) to the driver's name, the driver and the limits. A server
    consumes requests once its backend has answered for the first time.
    """

    def __init__(
        self,
        app: Application,
        bus: Bus,
        names: Names,
        backends: Mapping[str, tuple[str, Driver, BackendLimits]],
        heartbeat_seconds: float,
        volume_template: str = "volume-%s",
    ) -> None:
        self._app = app
        self._bus = bus
        self._names = names
        self._backends = backends
        self._heartbeat_seconds = heartbeat_seconds
        self._volume_template = volume_template
        self._callers = {server: Callers(server) for server in backends}
        worker_name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._origins = {server: self._origins_of(*backend) for server, backend in backends.items()}
        self.workers = {
            server: Worker(app, server, driver, worker_name, limits, self._origins[server])
            for server, (_, driver, limits) in backends.items()
        }
        self._due_scan = DueScan(
            app.db, {server: limits.scan_interval_seconds for server, (_, _, limits) in backends.items()}
        )
        kept = KeptScans()
        self._scans = {
            server: BackendScans(server, driver, limits, app.rules.name_template, kept)
            for server, (_, driver, limits) in backends.items()
        }
        # The servers that refuse names which other tools need, as far as their heartbeats say it to the API.
        self._protected: set[str] = set()
        self._checks = {server: BoundedCalls() for server in backends}
        self._consumers: list[Consumer] = []
        # The servers whose backends have answered, and those that the latest heartbeat covered.
        self._up: frozenset[str] = frozenset()
        self._alive: frozenset[str] = frozenset()
        # The storages that other processes serve under the names of these servers, each logged once.
        self._reported: set[tuple[str, str | None]] = set()
        self._openings: dict[str, Future[None]] = {}
        # Why the backends that are not served were refused at last.
        self._refusals: dict[str, str] = {}
        self._beaten_at: float | None = None
        self._opened = threading.Lock()
        self._stopping = threading.Event()
        self._pulse = Pulse("heartbeat")
        run = self._pulse.watched(self._run_heartbeats)
        self._heartbeats = threading.Thread(target=run, name="heartbeat", daemon=True)

    @property
    def servers(self) -> set[str]:
        """Return the servers whose backends have answered."""
        return set(self._up)

    def pulses(self) -> list[Pulse]:
        """Return the pulses of the threads that serve at the moment."""
        workers = [worker.pulse for worker in self.workers.values()]
        consumers = [pulse for consumer in list(self._consumers) for pulse in consumer.pulses()]
        return [self._pulse, self._due_scan.pulse, *workers, *consumers]

    @property
    def unserved(self) -> dict[str, str]:
        """Return the servers whose backends have not answered yet, each with the reason."""
        refusals = {server: self._refusals.get(server, "the backend has not answered yet") for server in self._backends}
        return {server: reason for server, reason in refusals.items() if server not in self._up}

    def readiness(self) -> list[Check]:
        """Return the checks of the heartbeat, of each backend, and of the queues that are consumed."""
        unserved = self.unserved
        backends = [Check(f"backend/{each}", unserved.get(each) or self._hang(each)) for each in self._backends]
        return [self._heartbeat_check(), *backends, *(consumer.readiness() for consumer in list(self._consumers))]

    def _heartbeat_check(self) -> Check:
        oldest = time.monotonic() - self._app.rules.service_down.total_seconds()
        beaten_at = self._beaten_at
        late = beaten_at is None or beaten_at < oldest
        return Check("heartbeat", "no heartbeat was written lately, so that requests are refused" if late else None)

    def _hang(self, server: str) -> str | None:
        return "every call of the driver hangs" if self.workers[server].hangs else None

    def start(self) -> None:
        """Begin to serve; try backends that don't answer yet again with each heartbeat."""
        self._due_scan.start()
        wait([self._try_to_open(server) for server in self._backends], START_SECONDS)
        self._beat()
        self._heartbeats.start()

    def drain(self, timeout_seconds: float) -> bool:
        """Stop consuming, then settle or release the held operations; return whether all were settled in time."""
        deadline = time.monotonic() + timeout_seconds
        with self._opened:
            self._stopping.set()
        workers = [self.workers[server] for server in sorted(self._up)]
        for consumer in self._consumers:
            consumer.stop()
        self._due_scan.stop()
        for worker in workers:
            worker.drain()
        for consumer in self._consumers:
            consumer.join(max(0.0, deadline - time.monotonic()))
        finished = [worker.finish(deadline) for worker in workers]
        for callers in self._callers.values():
            callers.shutdown()
        return all(finished)

    def _run_heartbeats(self) -> None:
        while not self._stopping.wait(self._heartbeat_seconds):
            with self._pulse:
                self._beat()
                for scans in self._scans.values():
                    scans.forget_old()

    def _beat(self) -> None:
        """Write the heartbeats, then try the backends again that didn't answer."""
        try:
            self._alive = self._app.run(self._beat_all)
            self._beaten_at = time.monotonic()
            for server in self._backends:
                if server not in self._up and self._openings[server].done():
                    self._try_to_open(server)
        except SQLAlchemyError as error:
            LOG.warning("Database error; the heartbeat is retried: %s", fields(reason=error))
        except Exception:
            LOG.exception("Heartbeat failed; it is retried, and the API refuses requests if it keeps failing.")

    def _beat_all(self, tx: Transaction) -> frozenset[str]:
        """Write the heartbeats of the servers that are up, and return these servers."""
        up = self._up
        for server in sorted(up):
            if server in self._alive:
                self._report_other_storage(server, services.get(tx.conn, server))
            services.beat(tx.conn, self._service(server, tx.now))
        if begun := up - self._alive:
            # Again: the broker returned the casts that the relay sent between `_announce` and the first consuming.
            outbox.hurry_casts(tx.conn, begun, tx.now)
        return up

    def _report_other_storage(self, server: str, beaten: Service | None) -> None:
        """Log it if another process has sent the last heartbeat of a server, for another storage."""
        storage = self.workers[server].storage
        if beaten is None or beaten.storage == storage or (server, beaten.storage) in self._reported:
            return
        self._reported.add((server, beaten.storage))
        LOG.error(
            "Another process serves another storage under the same name, so each of the two receives requests for the "
            "storage of the other. Stop one of them, and give each host its own name ([DEFAULT] host): %s",
            fields(backend=server, storage=storage, other_storage=beaten.storage),
        )

    def _try_to_open(self, server: str) -> Future[None]:
        """Open a backend in a thread of its own, so that a hung backend delays no other."""
        opening: Future[None] = Future()

        def open_it() -> None:
            try:
                self._open(server)
            except (errors.SnapmanageError, SQLAlchemyError) as error:
                self._refusals[server] = str(error)
                LOG.error("Backend can't be served yet; it is retried: %s", fields(backend=server, reason=error))
            except Exception as error:
                self._refusals[server] = f"{type(error).__name__}: {error}"
                LOG.exception("Backend can't be served yet; it is retried: %s", fields(backend=server))
            opening.set_result(None)

        threading.Thread(target=open_it, name=f"opening {server}", daemon=True).start()
        self._openings[server] = opening
        return opening

    def _open(self, server: str) -> None:
        """Check a backend, announce its server, and begin to consume; the casts that waited for it are due at once."""
        _, driver, limits = self._backends[server]
        self._checks[server].within(limits.driver_timeout_seconds, "checking the backend", driver.check)
        self._record_storage(server, driver, limits)
        self._record_protection(server, driver, limits)
        with self._opened:
            if self._stopping.is_set():
                return
            self._app.run(partial(self._announce, server))
            crash.at(Point.SERVER_ANNOUNCED)
            self.workers[server].start()
            self._due_scan.add(server, self.workers[server].nudge)
            handler = self._handler(server)
            self._consumers.append(self._bus.consume(self._names.server_queues(server), handler, handler.probe))
            self._up = self._up | {server}
        LOG.info("Serving a backend: %s", fields(backend=server))
        self._warn_of_shared_storage(server)

    def _record_storage(self, server: str, driver: Driver, limits: BackendLimits) -> None:
        """Get the id of the backend's storage from the driver, and write it to the server's records."""
        action = "reading the id of the backend's storage"
        # A driver for an earlier release has no such method.
        storage_id = getattr(driver, "storage_id", None)
        within = self._checks[server].within
        storage = within(limits.driver_timeout_seconds, action, storage_id) if storage_id else None
        self.workers[server].storage = storage
        if storage is None:
            return
        for each in ownership.adopt(self._app.db, server, storage, getattr(driver, "renewed_identities", None)):
            both = fields(snapshot=each.snapshot_id, backend=server, other_snapshot=each.owner_id)
            LOG.error("Two snapshots own one object; unmanage one of them: %s", both)

    def _record_protection(self, server: str, driver: Driver, limits: BackendLimits) -> None:
        """Find out whether the API may refuse names for this server: not if its driver renames nothing."""
        renames = partial(steps.renames, driver, self._app.rules.name_template, _PROBE)
        within = self._checks[server].within
        if self._origins[server].protects and within(limits.driver_timeout_seconds, "making a managed name", renames):
            self._protected.add(server)

    def _warn_of_shared_storage(self, server: str) -> None:
        """Log which other servers, running or not, serve the same storage."""
        with self._app.db.read() as conn:
            others = services.sharing(conn, self._service(server, self._app.db.clock(conn)))
        if others:
            LOG.warning(
                "Several servers serve the same storage, and each refuses the snapshots of the others. Set [DEFAULT] "
                "cluster if several machines shall serve it; unmanage the snapshots of a server that is gone: %s",
                fields(backend=server, other_backends=",".join(others)),
            )

    def _service(self, server: str, now: datetime) -> Service:
        name, storage = self._backends[server][0], self.workers[server].storage
        return Service(server, name, now, storage=storage, protects_origins=server in self._protected)

    def _origins_of(self, name: str, driver: Driver, limits: BackendLimits) -> BackendOrigins:
        """Return the origins on a backend; without a template of names nothing is renamed, so nothing is refused."""
        template = self._app.rules.name_template
        protects = limits.protect_origins and bool(template)
        return BackendOrigins(self._app.rules.origins, name, protects, partial(steps.renames, driver, template))

    def _handler(self, server: str) -> PoisonMessageGuard:
        lists = ManageableLists(partial(self._list_snapshots, server), partial(self._list_volumes, server))
        endpoints = [Endpoint(server, lists), CinderEndpoint(server, lists, self._volume_template)]
        intake = Intake(self._app, self._bus, endpoints, self.workers[server], self._callers[server])
        return PoisonMessageGuard(intake, self._app.db, self._app.rules.retry.max_attempts)

    def _announce(self, server: str, tx: Transaction) -> None:
        outbox.hurry_casts(tx.conn, [server], tx.now)
        services.beat(tx.conn, self._service(server, tx.now))

    def _list_snapshots(self, server: str, page: Page) -> list[Assessment]:
        found, storage = self._scans[server].snapshots.for_page(page), self.workers[server].storage
        return manageable.list_snapshots(self._app, server, found, page, storage, self._origins[server])

    def _list_volumes(self, server: str, page: Page) -> list[Assessment]:
        found = self._scans[server].volumes.for_page(page)
        return manageable.list_volumes(self._app, server, found, page, self.workers[server].storage)
