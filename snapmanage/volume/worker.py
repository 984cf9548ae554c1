"""Carry out the accepted operations of one backend: claim, resolve and settle them in batches.

One thread does all the writing. A pool of threads calls the driver, so that a slow call delays no other operation.
The writing thread waits on one queue, which receives the driver's answers, claimed operations and nudges.
"""

import logging
import queue
import threading
import time
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from snapmanage import crash, errors
from snapmanage.core.origins.protection import NO_ORIGINS, BackendOrigins
from snapmanage.core.records import Record
from snapmanage.core.values.logfields import fields
from snapmanage.crash import Point
from snapmanage.drivers import batch
from snapmanage.drivers.protocol import Driver
from snapmanage.manage import claims, settling
from snapmanage.manage.application import Application
from snapmanage.manage.claims import Claimed, WorkerId
from snapmanage.manage.settling import Outcome, Resolution
from snapmanage.pulse import Pulse
from snapmanage.volume import steps
from snapmanage.volume.driver_call import BATCH_SECONDS, JOINED_SECONDS, Limits
from snapmanage.volume.driver_pool import SLOW_SECONDS, DriverPool
from snapmanage.volume.fairness import ProjectRoundRobin
from snapmanage.volume.limits import BackendLimits

LOG = logging.getLogger(__name__)

# A worker holds as many operations as its driver finishes in this time, so that other workers can claim the rest.
# If the driver takes many at once, it holds two batches.
HELD_SECONDS = 0.5
# If the driver is fast enough, newly received requests wait this long for room: starting them at once is cheaper than
# accepting them now and reading them from the database later.
PATIENCE_SECONDS = 1.0
RETRY_SECONDS = 1.0

# None is a nudge: there may be an operation to claim.
_InboxItem = Resolution | Outcome | Claimed | None
A = TypeVar("A", Resolution, Outcome)


class Worker:
    """The worker of one server; it holds two operations per parallel call, or up to two batches of a fast driver."""

    def __init__(
        self,
        app: Application,
        server: str,
        driver: Driver,
        worker_name: str,
        limits: BackendLimits,
        origins: BackendOrigins = NO_ORIGINS,
    ) -> None:
        self.id = WorkerId(server, worker_name)
        # The id of the backend's storage, set when the backend answers; None if its driver doesn't know it.
        self.storage: str | None = None
        self._app = app
        self.limits = limits
        self._inbox: queue.SimpleQueue[_InboxItem] = queue.SimpleQueue()
        self._held: dict[str, Claimed] = {}
        self._round_robin = ProjectRoundRobin()
        carry_out = partial(steps.carry_out, driver, name_template=app.rules.name_template, origins=origins)
        self._pool = DriverPool(f"driver {server}", _pool_limits(driver, limits), carry_out, self._inbox.put)
        self._held_seconds = 2 * BATCH_SECONDS if batch.takes_many(driver) else HELD_SECONDS
        self.renew_every = app.rules.lease.total_seconds() / 3
        self._renew_at = 0.0
        self._more_due = False
        self._room_made = threading.Event()
        self._draining = threading.Event()
        # Guards `_finished`: once `finish` has released the held operations, the worker begins no other.
        self._finishing = threading.Lock()
        self._finished = False
        self.pulse = Pulse(f"worker {server}")
        self._thread = threading.Thread(target=self.pulse.watched(self._run), name=self.pulse.name, daemon=True)

    @property
    def hangs(self) -> bool:
        """Return whether every thread that calls the driver hangs."""
        return self._pool.hangs

    def start(self) -> None:
        """Start the thread; a repeated call has no effect."""
        if not self._thread.is_alive():
            self._thread.start()

    def nudge(self) -> None:
        """Make the worker look for operations to claim now."""
        self._inbox.put(None)

    def drain(self) -> None:
        """Stop claiming; the thread ends when the held operations are settled."""
        self._draining.set()
        self._room_made.set()
        self.nudge()

    def finish(self, deadline: float) -> bool:
        """Wait for the held operations until the monotonic `deadline`, then release the rest.

        Return whether all were settled. An operation that is handed over later, by a claim in progress, is released
        at once.
        """
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._pool.stop()
        with self._finishing:
            self._finished = True
            rest = list(self._held.values())
            with suppress(queue.Empty):
                while True:
                    if isinstance(item := self._inbox.get_nowait(), Claimed):
                        rest.append(item)
        self._release(rest)
        return not rest

    def await_room(self, wanted: int) -> int:
        """Return how many operations the worker has room for; if the driver is fast, wait briefly for `wanted`."""
        patience = PATIENCE_SECONDS if self._pool.capacity(PATIENCE_SECONDS) > wanted else 0
        deadline = time.monotonic() + patience
        while (room := self._room() - self._inbox.qsize()) < wanted and not self._draining.is_set():
            if (left := deadline - time.monotonic()) <= 0:
                break
            self._room_made.wait(left)
            self._room_made.clear()
        return max(0, room)

    def take_claimed(self, claimed: Sequence[Claimed], projects_waiting: Set[str]) -> None:
        """Begin operations that were claimed for this worker; claim those of the waiting projects later."""
        with self._finishing:
            finished = self._finished
            for each in [] if finished else claimed:
                self._inbox.put(each)
        if finished:
            self._release(claimed)
        if projects_waiting:
            self._round_robin.add(projects_waiting)
            self.nudge()

    def _release(self, rest: Sequence[Claimed]) -> None:
        if not rest:
            return
        batch = fields(backend=self.id.server, operations=len(rest))
        try:
            claims.release(self._app, [claimed.record for claimed in rest])
        except SQLAlchemyError as error:
            LOG.warning("Claims were not released; their leases expire instead: %s %s", batch, fields(reason=error))
        else:
            crash.at(Point.RELEASED)
            LOG.warning("Released the claims of unfinished operations; another worker retries them: %s", batch)

    def _run(self) -> None:
        self.nudge()
        while self._held or not (self._draining.is_set() and self._inbox.empty()):
            items: list[_InboxItem] = []
            with suppress(queue.Empty):
                items.append(self._inbox.get(timeout=min(self.renew_every, SLOW_SECONDS) if self._held else None))
                items += [self._inbox.get() for _ in range(min(self._inbox.qsize(), self.limits.batch))]
            try:
                with self.pulse:
                    self._process_inbox(items)
            except SQLAlchemyError as error:
                LOG.warning("Database error; the worker retries: %s", fields(backend=self.id.server, reason=error))
                time.sleep(RETRY_SECONDS)
            except Exception:
                LOG.exception("Worker loop failed; the worker retries: %s", fields(backend=self.id.server))
                time.sleep(RETRY_SECONDS)

    def _process_inbox(self, items: Sequence[_InboxItem]) -> None:
        """Write the driver's answers, then claim more; unwritten answers go back into the inbox."""
        self._begin([item for item in items if isinstance(item, Claimed)])
        try:
            self._settle([item for item in items if isinstance(item, Outcome)])
            self._resolve([item for item in items if isinstance(item, Resolution)])
        except Exception:
            for item in items:
                if isinstance(item, Resolution | Outcome) and item.record.id in self._held:
                    self._inbox.put(item)
            raise
        if self._held and time.monotonic() >= self._renew_at:
            self._renew()
        self._abandon_hung_calls()
        if self._more_due or None in items:
            self._claim()

    def _renew(self) -> None:
        """Renew the leases, and keep the records with the positions that are written with them."""
        held = [claimed.record for claimed in self._held.values()]
        for record in claims.renew(self._app, held, self._pool.positions()):
            self._held[record.id] = replace(self._held[record.id], record=record)
        self._renew_at = time.monotonic() + self.renew_every

    def _as_held(self, answers: Sequence[A]) -> list[A]:
        """Return the driver's answers with the records as the last renewal has written them."""
        records: list[Any] = [held.record if (held := self._claim_of(each.record)) else each.record for each in answers]
        return [
            each if record is each.record else replace(each, record=record)
            for each, record in zip(answers, records, strict=True)
        ]

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        outcomes = self._as_held(outcomes)
        crash.at(Point.CARRIED_OUT)
        settled = settling.settle(self._app, outcomes)
        crash.at(Point.SETTLED)
        steps.log_ends(settled)
        for outcome in outcomes:
            if self._claim_of(outcome.record):
                del self._held[outcome.record.id]
        self._room_made.set()
        if len(settled) < len(outcomes):
            lost = fields(backend=self.id.server, outcomes=len(outcomes) - len(settled))
            LOG.warning("Dropped late outcomes of operations that other workers have claimed: %s", lost)

    def _resolve(self, resolutions: Sequence[Resolution]) -> None:
        if not resolutions:
            return
        resolutions = self._as_held(resolutions)
        crash.at(Point.FOUND)
        written = settling.resolve(self._app, resolutions, self.storage)
        crash.at(Point.RESOLVED)
        resolved = {record.id: record for record in written if record.claimed_by}
        steps.log_ends([record for record in written if not record.claimed_by])
        due: list[Claimed] = []
        for each in resolutions:
            held = self._claim_of(each.record)
            if held and each.record.id in resolved:
                self._held[each.record.id] = next_step = Claimed(resolved[each.record.id], held.volume)
                due.append(next_step)
            elif held:
                del self._held[each.record.id]
        self._pool.submit(due)

    def _abandon_hung_calls(self) -> None:
        """Fail the operations of hung calls; the next attempt finds a result that a hung call has later."""
        self._pool.divide_slow_calls()
        seconds = self.limits.driver_timeout_seconds
        for claimed in self._pool.abandon(seconds):
            LOG.error("Driver call hangs; its operation fails and is retried: %s", fields(claimed.record))
            error = errors.BackendUnavailable(f"the driver didn't answer within {seconds:g} s")
            self._inbox.put(Outcome(claimed.record, error=error))

    def _room(self) -> int:
        """Return how many more operations the worker may hold."""
        most = min(max(2 * self.limits.driver_calls, self._pool.capacity(self._held_seconds)), 2 * self.limits.batch)
        return 0 if self._draining.is_set() else max(0, most - len(self._held))

    def _claim(self) -> None:
        room = self._room()
        wanted = min(self.limits.batch, room)
        first = self._round_robin.take_next(wanted)
        claimed = claims.claim(self._app, self.id, wanted, first) if wanted else []
        served = {each.record.requester.project_id for each in claimed}
        self._round_robin.add(project for project in first if project in served)  # the others have no more
        self._begin(claimed)
        self._more_due = len(claimed) == wanted
        if self._more_due and 0 < wanted < room:
            self.nudge()

    def _claim_of(self, record: Record) -> Claimed | None:
        """Return the claim under which the driver worked on a record; None if the worker lost or renewed the claim."""
        held = self._held.get(record.id)
        return held if held and held.record.claim_number == record.claim_number else None

    def _is_new(self, claimed: Claimed) -> bool:
        held = self._held.get(claimed.record.id)
        return held is None or held.record.claim_number < claimed.record.claim_number

    def _begin(self, claimed: Sequence[Claimed]) -> None:
        """Submit operations to the driver, except those whose records the worker holds under a newer claim."""
        if claimed:
            crash.at(Point.CLAIMED)
        with self._finishing:
            finished = self._finished
            due = [each for each in claimed if not finished and self._is_new(each)]
            self._held |= {each.record.id: each for each in due}
            self._pool.submit(due)
        if finished:
            self._release(claimed)


def _pool_limits(driver: Driver, limits: BackendLimits) -> Limits:
    """Return how the driver is called; one that takes a single object gets as many calls as there are threads."""
    if not batch.takes_many(driver):
        return Limits(limits.driver_calls, limits.driver_calls, limits.batch, JOINED_SECONDS)
    return Limits(limits.driver_calls, batch.calls_at_once(driver, limits.driver_calls), limits.batch)
