"""Unmanage a record in one transaction, without its server: nothing on the backend has to change.

This holds for every volume, since no volume is renamed, and for a snapshot whose object was never found.
"""

from collections.abc import Collection, Set
from dataclasses import replace
from datetime import datetime

from snapmanage import errors
from snapmanage.core import events, lifecycle
from snapmanage.core.change import Change
from snapmanage.core.events import Step
from snapmanage.core.records import Operation, Requester, Snapshot, Status, Volume, changed, identity_key

# Ids of snapshots that a refusal names.
MOST_NAMED = 3
_NEVER_FOUND = "it was unmanaged before it was found on its backend; register it again to check it"


def unmanage_volume(volume: Volume, requester: Requester, now: datetime) -> Change[Volume]:
    """Turn a volume of any status into a tombstone.

    A worker that is looking the volume up loses its claim, since the fence changes.
    """
    removed = changed(
        volume,
        requester=replace(requester, project_id=volume.requester.project_id),
        status=Status.DELETED,
        operation=Operation.UNMANAGE,
        due_at=None,
        claimed_by=None,
        reason=None,
        reason_code=None,
        reference_key=None,
        identity_key=None,
        updated_at=now,
        step_at=now,
        deleted_at=now,
    )
    return Change(volume, removed)


def refuse_parent(volume_id: str, snapshots: int, named: Collection[str]) -> None:
    """Raise `InvalidState` if a volume has snapshots; `named` are the ids that the caller may see."""
    if snapshots:
        ids = f" ({', '.join(named)}{', …' if snapshots > len(named) else ''})" if named else ""
        raise errors.InvalidState(
            f"Volume {volume_id} has {snapshots} {'snapshot' if snapshots == 1 else 'snapshots'}{ids}; "
            "a volume can be unmanaged when it has none, so unmanage its snapshots first, those in error too."
        )


def keys_of(volume: Volume) -> Set[str]:
    """Return the keys by which a volume would own its reference and its object."""
    return {key for key in (lifecycle.request(volume).reference_key, identity_key(volume)) if key}


def revive_volume(tombstone: Volume, described: Volume | None, owned: Set[str], now: datetime) -> Change[Volume]:
    """Make an unmanaged volume live again, because an upstream API requests a new snapshot of it.

    The volume becomes as the sender describes it, and like each volume of a sender it owns nothing. Otherwise it is as
    before; it owns its object again unless another volume does, whose key is one of `owned`.
    """
    if described is not None:
        numbers = {"claim_number": tombstone.claim_number, "generation": tombstone.generation}
        return Change(
            tombstone, changed(described, **numbers, created_at=tombstone.created_at, updated_at=now, step_at=now)
        )
    revived = changed(tombstone, operation=Operation.MANAGE, updated_at=now, step_at=now, deleted_at=None)
    if tombstone.backend_name is None:
        failed = {"status": Status.ERROR, "reason": _NEVER_FOUND, "reason_code": errors.InvalidState.code}
        return Change(tombstone, changed(revived, **failed))
    revived = changed(revived, status=Status.AVAILABLE)
    if keys_of(tombstone) & owned or tombstone.backend_id is None:
        return Change(tombstone, changed(revived, backend_id=None))
    return Change(tombstone, changed(lifecycle.request(revived), identity_key=identity_key(revived)))


def needs_no_server(requested: Change[Snapshot]) -> bool:
    """Return whether a requested unmanage renames nothing: the object was never found, or another record owns it."""
    return requested.before.status is Status.ERROR and requested.after.binding is None


def unmanage_unbound(requested: Change[Snapshot], now: datetime) -> list[Change[Snapshot]]:
    """Return the start and the end of an unmanage that needs no driver, since the record has no object to rename.

    They are the changes and the events that a worker would write.
    """
    snapshot = requested.after
    started = changed(
        snapshot,
        generation=snapshot.generation + 1,
        claim_number=snapshot.claim_number + 1,
        attempt=1,
        started_at=now,
    )
    start = Change(requested.before, started, events.announce(started, Step.START, now))
    return [start, lifecycle.succeed(started, None, now)]
