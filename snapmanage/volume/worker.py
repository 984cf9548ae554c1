"""Carrying out what was accepted for one backend: claim, resolve, settle, in batches of what is ready.

One thread does all the writing; the driver's calls run in a pool beside it, so that a slow one holds
nobody up. The thread sleeps on one queue, which brings outcomes and nudges.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from snapmanage import crash, errors
from snapmanage.core.records import Record
from snapmanage.crash import Point
from snapmanage.drivers.protocol import Driver
from snapmanage.manage import claims, settling
from snapmanage.manage.application import Application
from snapmanage.manage.claims import Claimed, Taker
from snapmanage.manage.settling import Outcome, Resolution
from snapmanage.volume import steps
from snapmanage.volume.driver_pool import DriverPool
from snapmanage.volume.fairness import ProjectRoundRobin

LOG = logging.getLogger(__name__)

# A worker holds what its driver gets through in this time, so that others can have the rest.
HELD_SECONDS = 0.5
# For a driver that is quick enough, what comes waits so long for room: to begin it at once takes less than to
# accept it now, and read it again later.
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class BackendLimits:
    """How much a backend is given at once, how long each call may take, how often its worker looks by itself, and
    how long a listing is kept.
    """

    driver_calls: int = 8
    batch: int = 200
    scan_interval_seconds: float = 0.5
    inventory_ttl_seconds: float = 60.0
    driver_timeout_seconds: float = 600.0


@dataclass(frozen=True)
class _Nudge:
    """There may be something to claim."""


_Arrival = Resolution | Outcome | Claimed | _Nudge


class Worker:
    """The worker of one server.

    It holds two operations for each call that the driver may be given at once; of a fast driver, two batches.
    """

    def __init__(self, app: Application, server: str, driver: Driver, worker_id: str, limits: BackendLimits) -> None:
        self.server = server
        # Which storage the backend is, once it has answered; None where its driver can't say.
        self.storage: str | None = None
        self._app = app
        self._driver = driver
        self._id = worker_id
        self._limits = limits
        self._inbox: queue.SimpleQueue[_Arrival] = queue.SimpleQueue()
        self._held: dict[str, Claimed] = {}
        self._round_robin = ProjectRoundRobin()
        self._pool = DriverPool(f"driver {server}", limits.driver_calls, self._carry_out, self._inbox.put)
        self._renew_every = app.rules.lease.total_seconds() / 3
        self._renew_at = 0.0
        self._look_at = 0.0
        self._more = False
        self._eased = threading.Event()
        self._draining = threading.Event()
        # Guards `_has_left`: once `finish` has given the held operations back, the worker begins no other.
        self._leaving = threading.Lock()
        self._has_left = False
        self._thread = threading.Thread(target=self._run, name=f"worker {server}", daemon=True)

    def start(self) -> None:
        """Begin to work; safe to repeat."""
        if not self._thread.is_alive():
            self._thread.start()

    def nudge(self) -> None:
        """Look for work now."""
        self._inbox.put(_Nudge())

    @property
    def taker(self) -> Taker:
        """How others claim for this worker; what they claim arrives as outcomes do."""
        return Taker(self.server, self._id, self._await_room, self._take)

    def drain(self) -> None:
        """Claim nothing more; the thread ends when what it holds is settled."""
        self._draining.set()
        self._eased.set()
        self.nudge()

    def finish(self, deadline: float) -> bool:
        """Wait for the held operations until the monotonic `deadline`, then give the rest back; False if there was one.

        An operation that arrives later, from a claim that was under way, is given back at once.
        """
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._pool.stop()
        with self._leaving:
            self._has_left = True
            rest = [*list(self._held.values()), *self._not_begun()]
        self._give_back(rest)
        return not rest

    def _give_back(self, rest: Sequence[Claimed]) -> None:
        if not rest:
            return
        LOG.warning("%s gives %d operations back.", self.server, len(rest))
        try:
            claims.give_back(self._app, [claimed.record for claimed in rest])
        except SQLAlchemyError as error:
            LOG.warning("%s could not give operations back; their leases run out instead: %s", self.server, error)
        else:
            crash.at(Point.GIVEN_BACK)

    def _receive(self, claimed: Sequence[Claimed], act: Callable[[Claimed], None]) -> None:
        """Call `act` with each operation; if the worker has left, give the operations back instead."""
        with self._leaving:
            has_left = self._has_left
            for each in [] if has_left else claimed:
                act(each)
        if has_left:
            self._give_back(claimed)

    def _not_begun(self) -> Iterator[Claimed]:
        with suppress(queue.Empty):
            while True:
                if isinstance(arrived := self._inbox.get_nowait(), Claimed):
                    yield arrived

    def _run(self) -> None:
        self.nudge()
        while self._held or not (self._draining.is_set() and self._inbox.empty()):
            try:
                self._turn(self._gather())
            except SQLAlchemyError as error:
                LOG.warning("The database doesn't answer, %s waits: %s", self.server, error)
                time.sleep(1)
            except Exception:
                LOG.exception("The worker of %s stumbled.", self.server)
                time.sleep(1)

    def _gather(self) -> list[_Arrival]:
        """Wait for the first arrival, or for the next look or renewal; then take what else there is."""
        try:
            arrived = [self._inbox.get(timeout=min(self._limits.scan_interval_seconds, self._renew_every))]
        except queue.Empty:
            return []
        return arrived + [self._inbox.get() for _ in range(min(self._inbox.qsize(), self._limits.batch))]

    def _turn(self, arrived: Sequence[_Arrival]) -> None:
        """Write down what has arrived, then take more. What fails to be written is put back first."""
        claimed = [each for each in arrived if isinstance(each, Claimed)]
        self._begin(claimed)
        try:
            self._settle([each for each in arrived if isinstance(each, Outcome)])
            self._resolve([each for each in arrived if isinstance(each, Resolution)])
        except Exception:
            for each in arrived:
                if isinstance(each, Resolution | Outcome) and _record_id(each) in self._held:
                    self._inbox.put(each)
            raise
        self._renew_when_due()
        self._give_up_late()
        if self._more or time.monotonic() >= self._look_at or any(isinstance(each, _Nudge) for each in arrived):
            self._claim()

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        crash.at(Point.CARRIED_OUT)
        settled = settling.settle(self._app, outcomes)
        crash.at(Point.SETTLED)
        for record in settled:
            _log_change(record)
        for outcome in outcomes:
            if self._mine(outcome.record):
                del self._held[outcome.record.id]
        self._eased.set()
        if len(settled) < len(outcomes):
            LOG.warning("%d outcomes were late: others took over.", len(outcomes) - len(settled))

    def _resolve(self, resolutions: Sequence[Resolution]) -> None:
        if not resolutions:
            return
        crash.at(Point.FOUND)
        going_on = {snapshot.id: snapshot for snapshot in settling.resolve(self._app, resolutions, self.storage)}
        crash.at(Point.RESOLVED)
        for each in resolutions:
            held = self._mine(each.snapshot)
            if held and each.snapshot.id in going_on:
                self._carry_on(Claimed(going_on[each.snapshot.id], held.volume))
            elif held:
                del self._held[each.snapshot.id]

    def _room(self) -> int:
        """How many operations more it may hold."""
        most = min(max(2 * self._limits.driver_calls, self._pool.within(HELD_SECONDS)), 2 * self._limits.batch)
        return 0 if self._draining.is_set() else max(0, most - len(self._held))

    def _await_room(self, wanted: int) -> int:
        patience = PATIENCE_SECONDS if self._pool.within(PATIENCE_SECONDS) > wanted else 0
        deadline = time.monotonic() + patience
        while (room := self._room() - self._inbox.qsize()) < wanted and not self._draining.is_set():
            if (left := deadline - time.monotonic()) <= 0:
                break
            self._eased.wait(left)
            self._eased.clear()
        return max(0, room)

    def _take(self, claimed: Sequence[Claimed], left: Set[str]) -> None:
        self._receive(claimed, self._inbox.put)
        if left:
            self._round_robin.wait(left)
            self.nudge()

    def _claim(self) -> None:
        self._look_at = time.monotonic() + self._limits.scan_interval_seconds
        room = self._room()
        wanted = min(self._limits.batch, room)
        turns = self._round_robin.next(wanted)
        claimed = claims.claim(self._app, self.server, self._id, wanted, turns) if wanted else []
        served = {each.record.requester.project_id for each in claimed}
        self._round_robin.wait(project for project in turns if project in served)  # who got none has no more
        self._begin(claimed)
        self._more = len(claimed) == wanted
        if self._more and 0 < wanted < room:
            self.nudge()

    def _mine(self, record: Record) -> Claimed | None:
        """The claim under which a record was worked at; None when it was lost, even to this same worker."""
        held = self._held.get(record.id)
        return held if held and held.record.claim_number == record.claim_number else None

    def _begin(self, claimed: Sequence[Claimed]) -> None:
        if claimed:
            crash.at(Point.CLAIMED)
        self._receive(claimed, self._begin_newer)

    def _begin_newer(self, claimed: Claimed) -> None:
        """Begin an operation, unless a newer claim of its record is held: a claim may be handed over late."""
        held = self._held.get(claimed.record.id)
        if held is None or held.record.claim_number < claimed.record.claim_number:
            self._carry_on(claimed)

    def _carry_on(self, claimed: Claimed) -> None:
        self._held[claimed.record.id] = claimed
        self._pool.submit(claimed)

    def _carry_out(self, claimed: Claimed) -> Resolution | Outcome:
        return steps.carry_out(self._driver, claimed, self._app.rules.name_template)

    def _give_up_late(self) -> None:
        """A call that hangs has failed; what it may do yet is as harmless as what a frozen worker may."""
        seconds = self._limits.driver_timeout_seconds
        for claimed in self._pool.given_up(seconds):
            error = errors.BackendUnavailable(f"the driver didn't answer within {seconds:g} s and was given up")
            LOG.error("%s: %s (%s).", self.server, error, claimed.record.id)
            self._inbox.put(Outcome(claimed.record, error=error))

    def _renew_when_due(self) -> None:
        now = time.monotonic()
        if self._held and now >= self._renew_at:
            claims.renew(self._app, [claimed.record for claimed in self._held.values()])
            self._renew_at = now + self._renew_every


def _record_id(arrived: Resolution | Outcome) -> str:
    return arrived.snapshot.id if isinstance(arrived, Resolution) else arrived.record.id


def _log_change(record: Record) -> None:
    """In this thread no request is served: the line names the one that it goes back to."""
    kind, request = type(record).__name__, record.requester.request_id
    if record.status.in_progress:
        LOG.warning("%s %s is tried again at %s (%s): %s", kind, record.id, record.due_at, request, record.reason)
    else:
        LOG.info("%s %s is %s (%s).", kind, record.id, record.status.value, request)
