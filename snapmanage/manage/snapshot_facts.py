"""The rows that decide on requests to manage snapshots, each kind read with one query for all requests."""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass

from snapmanage import errors
from snapmanage.core import services as service_rules
from snapmanage.core.records import Snapshot, Status, reference_key
from snapmanage.manage import owners, quotas
from snapmanage.manage.owners import ObjectOwners
from snapmanage.manage.quotas import Room
from snapmanage.manage.transaction import Transaction
from snapmanage.store import records
from snapmanage.store.records import VolumeForRequest


@dataclass(frozen=True)
class SnapshotFacts:
    """The facts about the requests of one project, by ids of volumes and of records.

    `refusals` are the errors of volumes whose snapshots the project can't manage. `room` is None without a usable
    volume.
    """

    ids_in_use: Set[str]
    volumes: Mapping[str, VolumeForRequest]
    refusals: Mapping[str, errors.Invalid]
    room: Room | None
    owners: ObjectOwners


def read(
    tx: Transaction, snapshots: Sequence[Snapshot], chosen_ids: Collection[str], everywhere: bool, with_references: bool
) -> SnapshotFacts:
    """Return the facts about snapshots of one project; before owners are read, wait for its other requests.

    `with_references` looks the owners of the references up; otherwise the unique key decides.
    """
    if not snapshots:
        return SnapshotFacts(set(), {}, {}, None, ObjectOwners({}, {}, {}, {}))
    conn, project_id = tx.conn, snapshots[0].requester.project_id
    volumes = records.volumes_for_request(conn, {each.volume_id for each in snapshots}, project_id)
    refusals = _refusals(tx, snapshots, volumes, None if everywhere else project_id)
    usable = [each for each in snapshots if each.volume_id not in refusals]
    room = quotas.room_for_snapshots(tx, project_id, volumes[usable[0].volume_id]) if usable else None
    shared = {each.volume_id for each in usable if volumes[each.volume_id].shared}
    keys = {_key(each, volumes[each.volume_id]) for each in usable} if with_references else set[str]()
    known = owners.of_references(conn, usable, shared, keys)
    # Last, so that the id of a record whose reference was found is in use.
    in_use = records.ids_in_use(conn, chosen_ids) if chosen_ids else set[str]()
    return SnapshotFacts(in_use, volumes, refusals, room, known)


def _refusals(
    tx: Transaction, snapshots: Sequence[Snapshot], volumes: Mapping[str, VolumeForRequest], project_id: str | None
) -> dict[str, errors.Invalid]:
    found: dict[str, errors.Invalid] = {}
    for volume_id in {each.volume_id for each in snapshots}:
        try:
            _require_usable(tx, volume_id, volumes.get(volume_id), project_id)
        except errors.Invalid as error:
            found[volume_id] = error
    return found


def _key(snapshot: Snapshot, volume: VolumeForRequest) -> str:
    return reference_key(volume.location.server, snapshot.reference, snapshot.volume_id)


def _require_usable(tx: Transaction, volume_id: str, volume: VolumeForRequest | None, project_id: str | None) -> None:
    """Raise an error unless snapshots of a volume can be managed; None for `project_id` is any project."""
    if volume is None or project_id not in (None, volume.project_id):
        raise errors.VolumeNotFound(volume_id)
    if volume.status is not Status.AVAILABLE:
        raise errors.InvalidState(
            f"Volume {volume_id} is {volume.status.value}; its snapshots can be managed when it is available."
        )
    service_rules.require_up(volume.service, volume.location.server, tx.now, tx.rules.service_down)
