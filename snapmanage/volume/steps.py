"""Call the driver for one step of an operation, and turn the driver's exceptions into outcomes."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe, refuse_foreign, refuse_unsafe
from snapmanage.core.records import Operation, Record, Snapshot, Status, Volume
from snapmanage.core.values.logfields import fields
from snapmanage.core.values.text import as_storable, storable
from snapmanage.drivers.protocol import Driver
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome, Resolution

LOG = logging.getLogger(__name__)
# The fields of a driver's answer that are written to the database, and their types.
REQUIRED_FIELDS: Mapping[str, type] = {"name": str, "identity": str, "size_bytes": int}
# An id of the usual length, to check managed names before there is a record.
_ANY_ID = "00000000-0000-0000-0000-000000000000"
_NOT_STORABLE = "its name or identity has characters that no database keeps: rename it on the backend"
F = TypeVar("F", BackendSnapshot, BackendVolume)


def carry_out(driver: Driver, claimed: Claimed, name_template: str) -> Resolution | Outcome:
    """Do the next step of a claimed operation; return a failure as an outcome instead of raising.

    Managing a snapshot takes two steps: `_resolve` finds the object of the reference; once that is written, the driver
    renames the object.
    """
    record = claimed.record
    try:
        match record:
            case Volume():
                found = _checked(driver.find_volume(record.reference), BackendVolume)
                refuse_unsafe(_storable(found))
                return Outcome(record, found)
            case Snapshot(operation=Operation.UNMANAGE):
                if record.binding:  # the object of a snapshot that was never resolved was never touched
                    driver.unmanage_snapshot(record.binding)
                return Outcome(record)
            case Snapshot() if record.binding:
                return Outcome(record, _checked(driver.manage_snapshot(record.binding), BackendSnapshot))
            case Snapshot():
                return _resolve(driver, record, claimed.volume, name_template)
        raise TypeError(f"{record} can't be carried out")
    except errors.SnapmanageError as error:
        return Outcome(record, error=error)
    except Exception:
        LOG.exception("Driver raised an unexpected exception; its operation is retried: %s", fields(record))
        return Outcome(record, error=_unexpected())


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


def _resolve(driver: Driver, snapshot: Snapshot, volume: Volume | None, name_template: str) -> Resolution:
    volume_name = volume.backend_name if volume else None
    found = _checked(driver.find_snapshot(snapshot.reference, volume_name), BackendSnapshot)
    if volume is not None and volume.backend_name is not None:
        refuse_foreign(found, volume.backend_name, volume.backend_id)
    refuse_unsafe(_storable(found))
    name = driver.managed_name(found, name_template % snapshot.id) if name_template else found.name
    return Resolution(snapshot, found, name)


def _checked(answer: object, kind: type[F]) -> F:
    """Return a driver's answer; raise `TypeError` unless it has the types and a size as the protocol requires."""
    if not (
        isinstance(answer, kind)
        and all(isinstance(getattr(answer, name), each) for name, each in REQUIRED_FIELDS.items())
        and answer.size_bytes >= 0
    ):
        raise TypeError(f"the driver returned {answer!r}, which is not a {kind.__name__}")
    return answer
