"""The objects of `snapmanage.core.backend`, made of the subvolumes that the privileged side reports."""

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, BackendVolume, Notes, Unsafe
from snapmanage.drivers.btrfs.view import ITSELF, Member
from snapmanage.drivers.system import times


def found_snapshot(member: Member) -> BackendSnapshot:
    """Return the snapshot of a request; raise `NotASnapshot`."""
    # The subvolume whose top is the folder has no name in the folder that could be changed.
    if not member.is_snapshot or member.name == ITSELF:
        raise errors.NotASnapshot(f"{member.name!r} is a subvolume, but not a snapshot of another subvolume")
    return snapshot(member)


def found_volume(member: Member) -> BackendVolume:
    """Return the volume of a request; raise `NotAVolume`."""
    if member.is_snapshot and member.read_only and not member.has_snapshots:
        raise errors.NotAVolume(
            f"{member.name!r} is a read-only snapshot without snapshots of its own; name the subvolume that it was "
            "made from"
        )
    return volume(member)


def volume(member: Member, unsafe_reason: str = "") -> BackendVolume:
    return BackendVolume(
        name=member.name,
        identity=member.identity,
        size_bytes=member.size_bytes or 0,
        created_at=times.creation_time(member.born),
        unsafe=Unsafe.UNUSABLE if unsafe_reason else None,
        unsafe_reason=unsafe_reason,
        extra=_extra(member),
    )


def snapshot(member: Member) -> BackendSnapshot:
    unsafe = Unsafe.UNUSABLE if member.fault else Unsafe.IN_USE if member.in_use else None
    return BackendSnapshot(
        name=member.name,
        identity=member.identity,
        size_bytes=member.size_bytes or 0,
        parent=member.parent,
        parent_identity=member.parent_identity,
        created_at=times.creation_time(member.born),
        unsafe=unsafe,
        unsafe_reason=member.fault or member.in_use,
        extra=_extra(member),
        notes=_notes(member),
    )


def _notes(member: Member) -> Notes | None:
    taken_at = times.creation_time(member.taken_at)
    return Notes(taken_at, member.description) if taken_at or member.description else None


def _extra(member: Member) -> dict[str, str]:
    quotas = {"quotas": member.counting} if member.counting else {}
    return {"read_only": "yes" if member.read_only else "no"} | quotas
