"""The driver's part of an operation: one call, and what came of it; whatever a driver raises is understood here."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Unsafe, refuse_foreign, refuse_unsafe
from snapmanage.core.records import Operation, Record, Snapshot, Volume
from snapmanage.drivers.protocol import Driver
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome, Resolution

LOG = logging.getLogger(__name__)
# Of what type that must be which is written down, of a snapshot and of a volume.
TOLD: Mapping[str, type] = {"name": str, "identity": str, "size_bytes": int}
# As long as any record's: names are checked with it before there is a record.
_ANY_ID = "00000000-0000-0000-0000-000000000000"
F = TypeVar("F", BackendSnapshot, BackendVolume)


def carry_out(driver: Driver, claimed: Claimed, name_template: str) -> Resolution | Outcome:
    """Do the next step of a claimed operation.

    A snapshot to be managed takes two: its reference is resolved, and once that is written down,
    the object is renamed. Never raises: a failure is an outcome.
    """
    record = claimed.record
    try:
        return _step(driver, claimed, name_template)
    except errors.SnapmanageError as error:
        return Outcome(record, error=error)
    except Exception:
        LOG.exception("The driver failed at %s in a way it shouldn't (%s).", record.id, record.requester.request_id)
        return Outcome(record, error=_unexpected())


def list_snapshots(driver: Driver, name_template: str = "") -> list[BackendSnapshot]:
    """What a backend holds; an error of snapmanage, whatever the driver raises."""
    try:
        found = driver.list_snapshots()
        return [_nameable(driver, each, name_template % _ANY_ID) for each in found] if name_template else found
    except errors.SnapmanageError:
        raise
    except Exception as error:
        LOG.exception("The driver failed at listing in a way it shouldn't.")
        raise _unexpected() from error


def _nameable(driver: Driver, found: BackendSnapshot, name: str) -> BackendSnapshot:
    """Return the snapshot, marked as unusable where it couldn't be given a managed name, as managing would find."""
    if found.unsafe is None:
        try:
            driver.managed_name(found, name)
        except errors.Invalid as error:
            return replace(found, unsafe=Unsafe.UNUSABLE, unsafe_reason=str(error))
    return found


def _unexpected() -> errors.BackendError:
    return errors.BackendError("the driver failed unexpectedly; the server's log tells how")


def _step(driver: Driver, claimed: Claimed, name_template: str) -> Resolution | Outcome:
    match claimed.record:
        case Volume() as volume:
            return Outcome(volume, _told(driver.find_volume(volume.reference), BackendVolume))
        case Snapshot(operation=Operation.UNMANAGE) as snapshot:
            return _unmanage(driver, snapshot)
        case Snapshot(binding=None) as snapshot:
            return _resolve(driver, snapshot, claimed.volume, name_template)
        case Snapshot() as snapshot if snapshot.binding:
            return Outcome(snapshot, _told(driver.manage_snapshot(snapshot.binding), BackendSnapshot))
    raise TypeError(f"{claimed.record} can't be carried out")


def _resolve(driver: Driver, snapshot: Snapshot, volume: Volume | None, name_template: str) -> Resolution:
    volume_name = volume.backend_name if volume else None
    found = _told(driver.find_snapshot(snapshot.reference, volume_name), BackendSnapshot)
    if volume is not None and volume.backend_name is not None:
        refuse_foreign(found, volume.backend_name, volume.backend_id)
    refuse_unsafe(found)
    name = driver.managed_name(found, name_template % snapshot.id) if name_template else found.name
    return Resolution(snapshot, found, name)


def _told(answer: object, kind: type[F]) -> F:
    """What a driver told, where it is what the protocol says: nothing else could be written down."""
    if not (isinstance(answer, kind) and all(isinstance(getattr(answer, name), each) for name, each in TOLD.items())):
        raise TypeError(f"the driver told {answer!r}, which is no {kind.__name__}")
    return answer


def _unmanage(driver: Driver, snapshot: Record) -> Outcome:
    """An object that was never resolved was never touched."""
    if isinstance(snapshot, Snapshot) and snapshot.binding:
        driver.unmanage_snapshot(snapshot.binding)
    return Outcome(snapshot)
