"""How a record moves: request, accept, claim, resolve, settle, unmanage.

Each function takes a record as it is and says what shall become of it, as a `Change`, or None
where nothing shall. The caller writes the change down only if the record's `fence` is still
that of `Change.before`: who loses stops. `docs/architecture.md` draws the statuses.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from snapmanage import errors
from snapmanage.core import events, usermessages
from snapmanage.core.backend import BackendSnapshot, BackendVolume, size_gb
from snapmanage.core.events import Event, Step
from snapmanage.core.records import (
    Operation,
    Record,
    Requester,
    Snapshot,
    Status,
    Volume,
    changed,
    identity_key,
    owner_key,
    reference_key,
)
from snapmanage.core.text import readable
from snapmanage.core.usermessages import UserMessage

R = TypeVar("R", bound=Record)
R_co = TypeVar("R_co", bound=Record, covariant=True)


@dataclass(frozen=True)
class Change(Generic[R_co]):
    """A record before and after, with what is announced in the same transaction."""

    before: R_co
    after: R_co
    event: Event | None = None
    message: UserMessage | None = None


@dataclass(frozen=True)
class Retry:
    """How often a failing operation is tried, and how long it rests in between."""

    max_attempts: int
    first_delay: timedelta
    longest_delay: timedelta

    def delay(self, attempt: int) -> timedelta:
        """The rest after the attempt of that number, counted from 1: doubled each time, up to the longest."""
        doubled: timedelta = self.first_delay * 2 ** min(attempt - 1, 30)
        return min(doubled, self.longest_delay)


def request(record: R) -> R:
    """A new record as it is first written: it owns its reference from the start."""
    volume_id = record.volume_id if isinstance(record, Snapshot) else None
    return changed(record, reference_key=reference_key(record.server, record.reference, volume_id))


def accept(
    record: R,
    operation: Operation,
    now: datetime,
    requester: Requester | None = None,
    lost: bool = False,
    generation: int | None = None,
) -> Change[R] | None:
    """The server has the request for sure; None when it had it before, or it is over.

    A sender that keeps records of its own asks for a snapshot back that is still settled in ours;
    `InvalidState` when it is on its way yet. `lost` is as for `unmanage`, `generation` that of the
    snapshot's latest event that the sender knows.
    """
    if record.status is operation.status and record.due_at is None:
        return Change(record, changed(record, due_at=now))
    if operation is Operation.UNMANAGE and record.status is Status.CREATING:
        raise _not_settled(record)
    if operation is Operation.UNMANAGE and _asks_back(record, requester, generation):
        asked = _asked_back(record, requester or record.requester, now, lost)
        return Change(record, changed(asked, due_at=now))
    return None


def claim(record: R, worker: str, now: datetime, lease: timedelta, retry: Retry) -> Change[R] | None:
    """Let one worker have the operation for a lease; give it up where it was tried too often.

    None when it is settled, or another's lease or a back-off still runs. The first claim of an
    operation announces its start.
    """
    if not record.status.in_progress or record.due_at is None or record.due_at > now:
        return None
    first = record.started_at is None
    claimed = changed(
        record,
        claim_number=record.claim_number + 1,
        attempt=record.attempt + 1,
        claimed_by=worker,
        due_at=now + lease,
        started_at=now if first else record.started_at,
        updated_at=now,
    )
    if record.attempt >= retry.max_attempts:
        last = f"; the last reason was: {record.reason}" if record.reason else ""
        exhausted = errors.AttemptsExhausted(
            f"gave up after {record.attempt} attempts, each of which ended without an answer{last}"
        )
        return _give_up(record, changed(claimed, attempt=record.attempt), exhausted, now)
    return _announced(record, claimed, Step.START, now) if first else Change(record, claimed)


def renew(record: R, now: datetime, lease: timedelta) -> Change[R]:
    """Keep a claim while the driver works."""
    return Change(record, changed(record, due_at=now + lease))


def resolve(
    snapshot: Snapshot, found: BackendSnapshot, managed_name: str, due_at: datetime, storage: str | None = None
) -> Change[Snapshot]:
    """Write down which object the reference meant and how it will be called, before it is touched.

    From here on the object is this snapshot's: the identity's key is unique on `storage`, where that is known.
    """
    return Change(
        snapshot,
        changed(
            snapshot,
            storage=storage,
            backend_id=found.identity,
            backend_name=managed_name,
            original_name=found.name,
            backend_created_at=found.created_at,
            size_gb=found.size_gb,
            identity_key=owner_key(storage or snapshot.server, found.identity),
            due_at=due_at,
        ),
    )


def manage_succeeded(snapshot: Snapshot, found: BackendSnapshot, now: datetime) -> Change[Snapshot]:
    """The object bears its managed name: `available`; its reference stays owned until it is given back."""
    settled = changed(_settled(snapshot, Status.AVAILABLE, now), size_gb=found.size_gb)
    return _announced(snapshot, settled, Step.END, now)


def unmanage_succeeded(snapshot: Snapshot, now: datetime) -> Change[Snapshot]:
    """The object was given back; the record stays as a tombstone, so that a late cast finds it."""
    settled = changed(_disowned(_settled(snapshot, Status.DELETED, now)), deleted_at=now)
    return _announced(snapshot, settled, Step.END, now)


def register_succeeded(volume: Volume, found: BackendVolume, now: datetime) -> Change[Volume]:
    """The volume is there: `available`, with its size and identity; it keeps its name."""
    settled = changed(
        _settled(volume, Status.AVAILABLE, now),
        size_gb=size_gb(found.size_bytes),
        backend_id=found.identity,
        backend_name=found.name,
        original_name=found.name,
        identity_key=owner_key(volume.server, found.identity),
    )
    return _announced(volume, settled, Step.END, now)


def fail(record: R, error: errors.SnapmanageError, now: datetime, retry: Retry) -> Change[R]:
    """Try again later where that may help, and end in `error` where it can't, or not any more."""
    if isinstance(error, errors.BackendError) and record.attempt < retry.max_attempts:
        resting = changed(
            record,
            due_at=now + retry.delay(record.attempt),
            claimed_by=None,
            reason=readable(str(error)),
            reason_code=error.code,
            updated_at=now,
        )
        return Change(record, resting)
    return _give_up(record, record, error, now)


def give_back(record: R, now: datetime) -> Change[R]:
    """Let another worker have it at once, before what came later; being drained is no attempt."""
    returned = changed(
        record,
        attempt=record.attempt - 1,
        claimed_by=None,
        due_at=record.started_at or now,
        updated_at=now,
    )
    return Change(record, returned)


def unmanage(snapshot: Snapshot, requester: Requester, now: datetime, lost: bool = False) -> Change[Snapshot]:
    """Ask to give the object back; `InvalidState` unless the snapshot is settled.

    `lost` says that the object belongs to another record by now: then there is nothing to give back.
    """
    if not _may_be_unmanaged(snapshot):
        raise _not_settled(snapshot)
    return Change(snapshot, _asked_back(snapshot, requester, now, lost))


def _not_settled(record: Record) -> errors.InvalidState:
    return errors.InvalidState(
        f"Snapshot {record.id} is {record.status.value}; it can be unmanaged when it is available or in error."
    )


def _may_be_unmanaged(record: Record) -> bool:
    return record.status in (Status.AVAILABLE, Status.ERROR)


def _asks_back(record: Record, requester: Requester | None, generation: int | None) -> bool:
    """Whether a cast to unmanage is a new request, and no repeat of one that has failed.

    By the generation where the sender told one; otherwise, since each request has an id of its own, by that.
    """
    if not _may_be_unmanaged(record) or record.operation is Operation.MANAGE:
        return _may_be_unmanaged(record)
    if generation is not None:
        return generation == record.generation
    asked_by = requester.request_id if requester else None
    return asked_by is not None and asked_by != record.requester.request_id


def _asked_back(record: R, requester: Requester, now: datetime, lost: bool) -> R:
    """The object is owned again, so that nobody else takes it meanwhile; or forgotten, where it is lost."""
    if lost:
        binding = dict.fromkeys(("backend_id", "backend_name", "original_name"))
    else:
        binding = {"identity_key": identity_key(record) or record.identity_key}
    return changed(
        record,
        **binding,
        requester=replace(requester, project_id=record.requester.project_id),
        status=Status.UNMANAGING,
        operation=Operation.UNMANAGE,
        attempt=0,
        started_at=None,
        reason=None,
        reason_code=None,
        updated_at=now,
    )


def _settled(record: R, status: Status, now: datetime) -> R:
    return changed(
        record,
        status=status,
        due_at=None,
        claimed_by=None,
        reason=None,
        reason_code=None,
        updated_at=now,
    )


def _give_up(before: R, record: R, error: errors.SnapmanageError, now: datetime) -> Change[R]:
    """End in `error`. What wasn't managed is free for others; what couldn't be given back stays ours."""
    settled = changed(
        record,
        status=Status.ERROR,
        due_at=None,
        claimed_by=None,
        reason=readable(str(error)),
        reason_code=error.code,
        updated_at=now,
    )
    if record.operation is Operation.MANAGE:
        settled = _disowned(settled)
    change = _announced(before, settled, Step.ERROR, now)
    return replace(change, message=usermessages.of_failure(change.after, now))


def _disowned(record: R) -> R:
    return changed(record, reference_key=None, identity_key=None)


def _announced(before: R, after: R, step: Step, now: datetime) -> Change[R]:
    """Count the step, and announce it where the record is a snapshot; volumes have no events."""
    counted = changed(after, generation=before.generation + 1)
    event = events.announce(counted, step, now) if isinstance(counted, Snapshot) else None
    return Change(before, counted, event)
