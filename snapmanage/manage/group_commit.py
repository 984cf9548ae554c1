"""Group commit: requests of several clients that are ready at the same time share one transaction.

The first request is written at once, by its own thread. Requests that arrive meanwhile wait, and one of their threads
then writes all of them. So a lone request waits for nobody, and the groups grow with the load.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from snapmanage import errors
from snapmanage.core.idempotency import IdempotencyKey
from snapmanage.core.records import Snapshot
from snapmanage.manage import requests, snapshot_requests
from snapmanage.manage.application import Application
from snapmanage.manage.snapshot_requests import Outcome, SnapshotRequest

# Requests of a transaction at most.
LARGEST_GROUP = 32
# A request that has waited so long for another transaction begins one of its own, with those that wait too: the other
# may wait for a lock.
PATIENCE_SECONDS = 0.1

# Requests of one project, by callers of equal rights.
_Key = tuple[str, bool]


@dataclass(eq=False)
class _Call:
    """A request with its thread, which sleeps until `woken` is released, and with `leads` writes the next group.

    An `outcome` of None means that the request must be written alone.
    """

    request: SnapshotRequest
    woken: threading.Lock = field(default_factory=threading.Lock)
    leads: bool = False
    outcome: Outcome | None = None
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.woken.acquire()


@dataclass
class _Queue:
    waiting: deque[_Call] = field(default_factory=deque)
    writers: int = 0


class GroupCommit:
    """The requests of a process for single snapshots, which its threads hand over to each other."""

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._queues: dict[_Key, _Queue] = {}

    @property
    def waiting(self) -> int:
        """Return the number of requests that wait for a transaction of others to end."""
        with self._lock:
            return sum(len(queue.waiting) for queue in self._queues.values())

    def request_snapshot(
        self,
        app: Application,
        snapshot: Snapshot,
        everywhere: bool = False,
        key: IdempotencyKey | None = None,
        id_chosen: bool = False,
    ) -> Snapshot:
        """Like `requests.request_snapshot`, perhaps in a transaction with other requests of the project.

        It returns after the commit. A request that is refused, or that makes the transaction fail, does not affect the
        others: if the transaction fails, each request is written alone.
        """
        call = _Call(SnapshotRequest(snapshot, key, id_chosen))
        queue_key = (snapshot.requester.project_id, everywhere)
        if group := self._group(queue_key, call):
            self._write(app, queue_key, group)
        if call.error:
            raise call.error
        if call.outcome is None:
            return requests.request_snapshot(app, snapshot, everywhere, key, id_chosen)
        if isinstance(call.outcome, errors.SnapmanageError):
            raise call.outcome
        return call.outcome.snapshot

    def _group(self, key: _Key, call: _Call) -> list[_Call]:
        """Return the calls that this thread writes, its own first; none if another thread has written `call`."""
        with self._lock:
            queue = self._queues.setdefault(key, _Queue())
            if not queue.writers:
                queue.writers += 1
                return self._take(queue, call)
            queue.waiting.append(call)
        woken = call.woken.acquire(timeout=self._patience_seconds)
        with self._lock:
            if call.leads:
                return self._take(queue, call)
            if call in queue.waiting:
                queue.waiting.remove(call)
                queue.writers += 1
                return self._take(queue, call)
        if not woken:
            call.woken.acquire()
        return []

    def _take(self, queue: _Queue, call: _Call) -> list[_Call]:
        others = [queue.waiting.popleft() for _ in range(min(len(queue.waiting), LARGEST_GROUP - 1))]
        return [call, *others]

    def _write(self, app: Application, key: _Key, group: Sequence[_Call]) -> None:
        """Write a group, let the next one begin, and wake the threads of this one."""
        try:
            _write_together(app, key[1], group)
        except BaseException as error:  # noqa: BLE001 - no thread may wait forever
            for each in group:
                each.error = error
        self._hand_over(key)
        for each in group[1:]:
            each.woken.release()

    def _hand_over(self, key: _Key) -> None:
        with self._lock:
            queue = self._queues[key]
            if queue.waiting:
                following = queue.waiting.popleft()
                following.leads = True
                following.woken.release()  # its thread is the writer now, instead of this one
                return
            queue.writers -= 1
            if not queue.writers:
                del self._queues[key]


def _write_together(app: Application, everywhere: bool, group: Sequence[_Call]) -> None:
    batch = [each.request for each in group]
    if len(batch) == 1:
        outcomes: Sequence[Outcome | None] = snapshot_requests.request_snapshots(app, batch, everywhere)
    else:
        outcomes = snapshot_requests.request_together(app, batch, everywhere)
    for each, outcome in zip(group, outcomes, strict=True):
        each.outcome = outcome
