"""The requests of clients to manage snapshots: one, or a batch that is decided and written with few statements."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from snapmanage import crash, errors
from snapmanage.core import lifecycle, outbox
from snapmanage.core.idempotency import IdempotencyKey
from snapmanage.core.origins import protection
from snapmanage.core.origins.patterns import Origins
from snapmanage.core.records import Snapshot, changed
from snapmanage.core.values.logfields import fields
from snapmanage.core.values.sizes import fitting
from snapmanage.crash import Point
from snapmanage.manage import availability, keys, owners, queries, quotas, snapshot_facts
from snapmanage.manage.application import Application
from snapmanage.manage.keys import Keys
from snapmanage.manage.snapshot_facts import SnapshotFacts
from snapmanage.manage.transaction import Transaction
from snapmanage.store import records
from snapmanage.store.engine import failures
from snapmanage.store.engine.refusals import write_in_parts
from snapmanage.store.records import VolumeForRequest

LOG = logging.getLogger(__name__)

# Requests of several clients wait so long for each locked row, and are then written one by one.
LOCK_SECONDS = 1
# A batch is written so many times if other requests take its ids or references at the same time; then one by one.
TRIES = 3


@dataclass(frozen=True)
class SnapshotRequest:
    """A snapshot to be managed; `id_chosen` means that the client has chosen its id."""

    snapshot: Snapshot
    key: IdempotencyKey | None = None
    id_chosen: bool = False


@dataclass(frozen=True)
class Accepted:
    """The snapshot of an accepted request; `is_new` is False if the request repeats an earlier one."""

    snapshot: Snapshot
    is_new: bool = True


Outcome = Accepted | errors.SnapmanageError


def request_snapshots(app: Application, requests: Sequence[SnapshotRequest], everywhere: bool = False) -> list[Outcome]:
    """Write snapshots of one project to be managed, with the hosts of their volumes, and the casts to their servers.

    Return the outcome of each request, in their order: a refused request refuses no other. The requests are decided one
    after the other, as if each had been sent alone, and written in one transaction. The volumes must belong to the
    project, unless the requester may act `everywhere`. If the same request was sent under its idempotency key before,
    its outcome is that request's snapshot as it is now.
    A refusal is `KeyReused`, `NotFound`, `IdInUse`, `VolumeNotFound`, `InvalidState`, `ServiceNotFound`, `ServiceDown`,
    `QuotaExceeded`, `AlreadyManaged` or `OriginRefuses`.
    """
    if not requests:
        return []
    parts = write_in_parts(requests, partial(_request, app, everywhere), partial(_refused, app), failures.may_pass)
    return [outcome for part in parts for outcome in part]


def request_together(app: Application, requests: Sequence[SnapshotRequest], everywhere: bool) -> list[Outcome | None]:
    """Like `request_snapshots`, for requests of several clients, of which none may make another fail.

    It tries once. The outcome is None for each request that has to be written alone: if the transaction failed, or if
    the batch has no room for the snapshot of a repeated request. Raise an error only if the database is away, since
    then nobody knows whether the transaction was committed.
    """
    try:
        outcomes = _request_once(app, everywhere, requests, LOCK_SECONDS)
    except Exception as error:
        if availability.database_away(error) and not failures.rolled_back(error):
            raise
        LOG.debug("Requests of several clients are written one by one: %s", fields(reason=error))
        return [None] * len(requests)
    return [None if isinstance(outcome, _NoRoomToShow) else outcome for outcome in outcomes]


def _request(app: Application, everywhere: bool, requests: Sequence[SnapshotRequest]) -> list[Outcome]:
    """Write requests; raise `AlreadyManaged` if others have taken an id or a reference meanwhile, each time."""
    for _ in range(TRIES - 1 if _may_race(requests) else 0):
        with suppress(errors.AlreadyManaged):
            return _request_once(app, everywhere, requests)
    return _request_once(app, everywhere, requests)


def _may_race(requests: Sequence[SnapshotRequest]) -> bool:
    """Return whether a unique key that refuses the requests does not show the reason of the refusal."""
    return len(requests) > 1 or requests[0].id_chosen


def _request_once(
    app: Application, everywhere: bool, requests: Sequence[SnapshotRequest], lock_seconds: int | None = None
) -> list[Outcome]:
    try:
        return quotas.run_queued(app, lambda tx: _Batch(tx, requests, everywhere).write(), lock_seconds)
    except _NothingToWrite as found:
        return found.outcomes


def _refused(app: Application, request: SnapshotRequest, error: Exception) -> list[Outcome]:
    explained = owners.explained(app, error)
    if isinstance(explained, errors.SnapmanageError):
        return [explained]
    raise error


class _NothingToWrite(Exception):
    """Every request was refused or repeats an earlier one, so the transaction is rolled back."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        super().__init__()
        self.outcomes = outcomes


class _NoRoomToShow(errors.InvalidRequest):
    """The snapshot of a repeated request makes the answer of its batch too large."""


class _Batch:
    """The requests of one transaction, and those that were accepted so far."""

    def __init__(self, tx: Transaction, requests: Sequence[SnapshotRequest], everywhere: bool) -> None:
        self._tx = tx
        self._requests = requests
        self._everywhere = everywhere
        ids_chosen = any(each.id_chosen for each in requests)
        self._keys = Keys(tx, [(each.snapshot, each.key) for each in requests if each.key], ids_chosen)
        self._sizes: dict[str, int] = {}
        self._left_to_show = 0
        self._records = self._earlier_records()
        self._new: list[Snapshot] = []

    def write(self) -> list[Outcome]:
        """Decide on the requests in their order, and write the accepted ones; return the outcomes."""
        decide = self._decider()
        outcomes: list[Outcome] = []
        for request in self._requests:
            try:
                outcomes.append(self._repeated(request) or self._accepted(request, decide(request)))
            except errors.Invalid as error:
                outcomes.append(error.with_traceback(None))  # it would keep this transaction in memory
        if not self._new:
            raise _NothingToWrite(outcomes)
        records.insert(self._tx.conn, *self._new)
        self._keys.write()
        self._tx.post([outbox.cast(snapshot) for snapshot in self._new])
        crash.at(Point.REQUEST_UNCOMMITTED)
        return outcomes

    def _earlier_records(self) -> dict[str, Snapshot]:
        """Return the records of repeated requests by their ids, perhaps tombstones, as far as an answer holds them.

        An edit can make a record much larger than its request, and many requests can repeat one.
        """
        ids = [found for each in self._requests if (found := self._earlier_id(each))]
        if not ids:
            return {}
        self._sizes = records.sizes(self._tx.conn, Snapshot, set(ids))
        sizes = [(each, self._sizes[each]) for each in ids if each in self._sizes]
        shown = fitting(sizes, queries.LARGEST_PAGE)
        self._left_to_show = len(shown)
        return {found.id: found for found in records.get_many(self._tx.conn, Snapshot, set(shown))}

    def _earlier_id(self, request: SnapshotRequest) -> str | None:
        with suppress(errors.KeyReused):
            return self._keys.earlier(request.snapshot, request.key) if request.key else None
        return None

    def _decider(self) -> "_Decider":
        first = [each for each in self._requests if self._earlier_id(each) is None]
        chosen = {each.snapshot.id for each in first if each.id_chosen}
        read = partial(snapshot_facts.read, with_references=_may_race(self._requests))
        facts = read(self._tx, [each.snapshot for each in first], chosen, self._everywhere)
        return _Decider(facts, self._tx.now, self._tx.rules.origins)

    def _repeated(self, request: SnapshotRequest) -> Accepted | None:
        """Return the record of the earlier request under the key of this one, None if it repeats none."""
        earlier_id = self._keys.earlier(request.snapshot, request.key) if request.key else None
        if earlier_id is None:
            return None
        if earlier_id in self._sizes:
            self._require_room()
        if earlier_id not in self._records:
            raise keys.record_gone(earlier_id)
        return Accepted(self._records[earlier_id], is_new=False)

    def _require_room(self) -> None:
        if self._left_to_show == 0:
            raise _NoRoomToShow(
                f"The snapshots of repeated entries have more than {queries.LARGEST_PAGE} characters together; this "
                "one is not shown, so send its entry in another batch, or get the snapshot."
            )
        self._left_to_show -= 1

    def _accepted(self, request: SnapshotRequest, snapshot: Snapshot) -> Accepted:
        self._new.append(snapshot)
        self._records[snapshot.id] = snapshot
        if request.key:
            self._keys.claim(snapshot, request.key)
        return Accepted(snapshot)


class _Decider:
    """Decides on requests one after the other: an accepted one counts for those after it."""

    def __init__(self, facts: SnapshotFacts, now: datetime, origins: Origins) -> None:
        self._facts = facts
        self._now = now
        self._origins = origins
        self._room = facts.room
        self._owners = facts.owners
        self._ids = set(facts.ids_in_use)

    def __call__(self, request: SnapshotRequest) -> Snapshot:
        """Return the record of an accepted request; raise an error of `request_snapshots` for another one."""
        if request.snapshot.id in self._ids:
            raise errors.IdInUse(request.snapshot.id)
        volume_id = request.snapshot.volume_id
        if volume_id in self._facts.refusals:
            raise self._facts.refusals[volume_id]
        volume = self._facts.volumes[volume_id]
        requested = lifecycle.request(
            changed(request.snapshot, location=volume.location, size_gb=volume.size_gb, created_at=self._now)
        )
        room = self._room and self._room.after(requested)
        self._owners.refuse_owned(requested)
        self._refuse_origin(requested, volume)
        self._room = room
        self._ids.add(requested.id)
        self._owners.add(requested)
        return requested

    def _refuse_origin(self, snapshot: Snapshot, volume: VolumeForRequest) -> None:
        """Raise `OriginRefuses` if the name in the reference shows that another tool needs it.

        The server sees more of the object, and decides again.
        """
        service, name = volume.service, snapshot.reference.value.get("source-name")
        if service and service.protects_origins and isinstance(name, str) and not protection.forced(snapshot.metadata):
            protection.refuse_by_name(self._origins, service.driver, name, volume.backend_name, snapshot.id)
