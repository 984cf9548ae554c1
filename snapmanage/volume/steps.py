"""Call the driver for one step of an operation, and turn the driver's exceptions into outcomes."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Binding, Unsafe, refuse_foreign, refuse_unsafe
from snapmanage.core.origins import protection
from snapmanage.core.origins.protection import NO_ORIGINS, BackendOrigins
from snapmanage.core.records import Operation, Record, Snapshot, Status
from snapmanage.core.reference import Reference
from snapmanage.core.values.logfields import fields
from snapmanage.core.values.text import as_storable, storable
from snapmanage.drivers import batch
from snapmanage.drivers.batch import Asked, NotTried
from snapmanage.drivers.progress import working_on
from snapmanage.drivers.protocol import Driver
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome, Resolution

LOG = logging.getLogger(__name__)
# The fields of a driver's answer that are written to the database, and their types.
REQUIRED_FIELDS: Mapping[str, type] = {"name": str, "identity": str, "size_bytes": int}
# An id of the usual length, to check managed names before there is a record.
_ANY_ID = "00000000-0000-0000-0000-000000000000"
_NOT_STORABLE = "its name or identity has characters that no database keeps: rename it on the backend"
UNEXPECTED = "Driver raised an unexpected exception; its operation is retried: %s"
F = TypeVar("F", BackendSnapshot, BackendVolume)


class Step(Enum):
    """The kinds of steps; a driver that takes many at once takes steps of one kind."""

    FIND_VOLUME = "find the volume of a reference"
    FIND_SNAPSHOT = "find the snapshot of a reference"
    MANAGE = "rename a snapshot to its managed name"
    UNMANAGE = "rename a snapshot back to its old name"


def next_step(claimed: Claimed) -> Step:
    """Return the kind of the next step of an operation.

    Managing a snapshot takes two steps: the first finds the object of the reference; once that is written, the second
    renames the object.
    """
    record = claimed.record
    if not isinstance(record, Snapshot):
        return Step.FIND_VOLUME
    if record.operation is Operation.UNMANAGE:
        return Step.UNMANAGE
    return Step.MANAGE if record.binding else Step.FIND_SNAPSHOT


def entry(claimed: Claimed) -> Asked | Binding | Reference | None:
    """Return the driver's entry of an operation in a batch; None if the operation needs no driver."""
    record = claimed.record
    if isinstance(record, Snapshot) and (record.binding or record.operation is Operation.UNMANAGE):
        return record.binding  # the object of a snapshot that was never resolved was never touched
    if isinstance(record, Snapshot):
        return Asked(record.reference, claimed.volume.backend_name if claimed.volume else None)
    return record.reference


def concerns(claimed: Claimed, reported: object) -> bool:
    """Return whether an entry that a driver reports as its current one belongs to an operation.

    A driver that follows an object to another place, or renews its identity, reports another binding of the object.
    """
    own = entry(claimed)
    if isinstance(own, Binding) and isinstance(reported, Binding):
        return own.identity == reported.identity or own.managed_name == reported.managed_name
    return own is not None and own == reported


def carry_out(
    driver: Driver, claimed: Sequence[Claimed], name_template: str, origins: BackendOrigins = NO_ORIGINS
) -> list[Resolution | Outcome | None]:
    """Do the next step of claimed operations, all of one kind; return a failure as an outcome instead of raising.

    Return None for an operation that the driver has not tried, because it had no answer for an earlier one.
    """
    call = _CALLS[next_step(claimed[0])]
    entries = {number: asked for number, each in enumerate(claimed) if (asked := entry(each)) is not None}
    answers = dict(zip(entries, _answers(driver, call, list(entries.values()), claimed), strict=True))
    tried = {number for number, answer in answers.items() if not isinstance(answer, NotTried)} or set(answers)
    finish = partial(_finish, driver, name_template, origins)
    return [
        _answered(each, answers.get(number), finish) if number in tried or number not in answers else None
        for number, each in enumerate(claimed)
    ]


def list_snapshots(driver: Driver, name_template: str = "") -> list[BackendSnapshot]:
    """Return the backend's snapshots; raise only errors of snapmanage.

    With a `name_template`, mark the snapshots as unusable to which the driver can't give such a name.
    """
    with _deliberate_errors(driver):
        found = [_storable(each) for each in driver.list_snapshots()]
        return [_nameable(driver, each, name_template % _ANY_ID) for each in found] if name_template else found


def list_volumes(driver: Driver) -> list[BackendVolume]:
    """Return the backend's volumes; raise only errors of snapmanage."""
    # A driver for an earlier release has no such method.
    scan = getattr(driver, "list_volumes", None)
    if scan is None:
        raise errors.InvalidRequest(
            "the driver of this backend can't list volumes; register a volume by its name on the backend"
        )
    with _deliberate_errors(driver):
        return [_storable(each) for each in scan()]


def renames(driver: Driver, name_template: str, found: BackendSnapshot) -> bool:
    """Return whether managing would give a snapshot another name."""
    try:
        return bool(name_template) and driver.managed_name(found, name_template % _ANY_ID) != found.name
    except errors.SnapmanageError:  # the listing reports it
        return True


def log_ends(settled: Sequence[Record]) -> None:
    """Log the end of each operation, or the time of its next attempt; an unmanaged snapshot has its old name again."""
    for record in settled:
        kind = type(record).__name__
        if record.status.in_progress:
            later = fields(record, attempt=record.attempt, retry_at=record.due_at, reason=record.reason)
            LOG.warning("Operation failed and is retried: %s", later)
        elif record.status is Status.ERROR:
            LOG.warning("Operation failed: %s", fields(record, reference=record.reference.text, reason=record.reason))
        elif record.status is Status.DELETED:
            LOG.info("%s unmanaged: %s", kind, fields(record, status="unmanaged", backend_name=record.original_name))
        else:
            LOG.info("%s managed: %s", kind, fields(record, backend_name=record.backend_name))


@contextmanager
def _deliberate_errors(driver: Driver) -> Iterator[None]:
    """Raise an unexpected exception of a listing as an error of snapmanage, and log it."""
    try:
        yield
    except errors.SnapmanageError:
        raise
    except Exception as error:
        name = type(driver).__name__
        LOG.exception("Driver raised an unexpected exception; the listing fails: %s", fields(driver=name))
        raise _unexpected() from error


def _storable(found: F) -> F:
    """Return a listed object; with a name or identity that no database keeps, it is unusable, and shown escaped.

    A file or an array may have names in another encoding, and one of them must not hide the others.
    """
    if storable(found.name) and storable(found.identity):
        return found
    name, identity = map(as_storable, (found.name, found.identity))
    return replace(found, name=name, identity=identity, unsafe=Unsafe.UNUSABLE, unsafe_reason=_NOT_STORABLE)


def _nameable(driver: Driver, found: BackendSnapshot, name: str) -> BackendSnapshot:
    if found.unsafe is None:
        try:
            driver.managed_name(found, name)
        except errors.Invalid as error:
            return replace(found, unsafe=Unsafe.UNUSABLE, unsafe_reason=str(error))
    return found


def _unexpected() -> errors.BackendError:
    return errors.BackendError("the driver failed unexpectedly; the log of the server has the traceback")


_CALLS: Mapping[Step, Callable[[Driver, Sequence[Any]], Sequence[Any]]] = {
    Step.FIND_VOLUME: batch.find_volumes,
    Step.FIND_SNAPSHOT: batch.find_snapshots,
    Step.MANAGE: batch.manage_snapshots,
    Step.UNMANAGE: batch.unmanage_snapshots,
}


def _answers(
    driver: Driver,
    call: Callable[[Driver, Sequence[Any]], Sequence[Any]],
    entries: Sequence[Any],
    claimed: Sequence[Claimed],
) -> Sequence[Any]:
    """Return the driver's answer for each entry; an error of the whole call is the answer for all.

    If a call for several fails unexpectedly, call the driver for each entry alone: a defect that one entry uncovers
    must not fail the others.
    """
    try:
        return call(driver, entries) if entries else ()
    except errors.SnapmanageError as error:
        return [error] * len(entries)
    except Exception:
        LOG.exception(UNEXPECTED, fields(claimed[0].record, operations=len(claimed)))
        if len(entries) == 1:
            return [_unexpected()]
    return [answer for each in entries for answer in _answer_alone(driver, call, each, claimed)]


def _answer_alone(
    driver: Driver, call: Callable[[Driver, Sequence[Any]], Sequence[Any]], alone: Any, claimed: Sequence[Claimed]
) -> Sequence[Any]:
    working_on(alone)
    return _answers(driver, call, [alone], [each for each in claimed if entry(each) == alone])


def _answered(
    claimed: Claimed, answer: Any, finish: Callable[[Claimed, Any], Resolution | Outcome]
) -> Resolution | Outcome:
    record = claimed.record
    try:
        if isinstance(answer, Exception):
            raise answer
        return finish(claimed, answer)
    except errors.SnapmanageError as error:
        return Outcome(record, error=error)
    except Exception:
        LOG.exception(UNEXPECTED, fields(record))
        return Outcome(record, error=_unexpected())


def _finish(
    driver: Driver, name_template: str, origins: BackendOrigins, claimed: Claimed, answer: Any
) -> Resolution | Outcome:
    """Check the driver's answer and return the end of the step; raise an error that ends the operation."""
    match next_step(claimed):
        case Step.UNMANAGE:
            return Outcome(claimed.record)
        case Step.MANAGE:
            return Outcome(claimed.record, _checked(answer, BackendSnapshot))
        case Step.FIND_VOLUME:
            volume = _checked(answer, BackendVolume)
            refuse_unsafe(_storable(volume))
            return Outcome(claimed.record, volume)
    return _resolution(driver, claimed, _checked(answer, BackendSnapshot), name_template, origins)


def _resolution(
    driver: Driver, claimed: Claimed, found: BackendSnapshot, name_template: str, origins: BackendOrigins
) -> Resolution:
    snapshot, volume = claimed.record, claimed.volume
    if not isinstance(snapshot, Snapshot):
        raise TypeError(f"{snapshot} is no snapshot")
    if volume is not None and volume.backend_name is not None:
        refuse_foreign(found, volume.backend_name, volume.backend_id)
    refuse_unsafe(_storable(found))
    name = driver.managed_name(found, name_template % snapshot.id) if name_template else found.name
    origin = origins.of(found)
    if origin and origins.protects and name != found.name and not protection.forced(snapshot.metadata):
        protection.refuse(found.name, origin)
    return Resolution(snapshot, found, name, origin)


def _checked(answer: object, kind: type[F]) -> F:
    """Return a driver's answer; raise `TypeError` unless it has the types and a size as the protocol requires."""
    if not (
        isinstance(answer, kind)
        and all(isinstance(getattr(answer, name), each) for name, each in REQUIRED_FIELDS.items())
        and answer.size_bytes >= 0
    ):
        raise TypeError(f"the driver returned {answer!r}, which is not a {kind.__name__}")
    return answer
