"""The rows that decide on requests to manage snapshots, each kind read with one query for all requests."""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from snapmanage import errors
from snapmanage.core import services as service_rules
from snapmanage.core.records import Snapshot, Status, reference_key
from snapmanage.core.reference import Reference
from snapmanage.core.values.ids import ids_in
from snapmanage.manage import quotas
from snapmanage.manage.quotas import Room
from snapmanage.manage.transaction import Transaction
from snapmanage.store import ownership, records
from snapmanage.store.records import VolumeForRequest


@dataclass(frozen=True)
class SnapshotFacts:
    """The facts about the requests of one project, by ids of volumes and of records, and by keys of references.

    `refusals` are the errors of volumes whose snapshots the project can't manage. `room` is None without a usable
    volume. `named` are the ids in the names of a reference, by its text, and `live` the projects of those of them whose
    snapshots own an object. `same_volumes` are the records of other servers for a volume, as pairs of server and id.
    `owners` are pairs of id and project.
    """

    ids_in_use: Set[str]
    volumes: Mapping[str, VolumeForRequest]
    refusals: Mapping[str, errors.Invalid]
    room: Room | None
    named: Mapping[str, Set[str]]
    live: Mapping[str, str]
    same_volumes: Mapping[str, Sequence[tuple[str, str]]]
    owners: Mapping[str, tuple[str, str]]

    def keys_elsewhere(self, snapshot: Snapshot) -> Iterator[str]:
        """Yield the keys that the snapshot's reference has on other servers of the storage."""
        return _keys_elsewhere(snapshot, self.same_volumes)


NOTHING = SnapshotFacts(set(), {}, {}, None, {}, {}, {}, {})


def read(
    tx: Transaction, snapshots: Sequence[Snapshot], chosen_ids: Collection[str], everywhere: bool, with_references: bool
) -> SnapshotFacts:
    """Return the facts about snapshots of one project; before owners are read, wait for its other requests.

    `with_references` looks the owners of the references up; otherwise the unique key decides.
    """
    if not snapshots:
        return NOTHING
    conn, project_id = tx.conn, snapshots[0].requester.project_id
    volumes = records.volumes_for_request(conn, {each.volume_id for each in snapshots}, project_id)
    refusals = _refusals(tx, snapshots, volumes, None if everywhere else project_id)
    usable = [each for each in snapshots if each.volume_id not in refusals]
    room = quotas.room_for_snapshots(tx, project_id, volumes[usable[0].volume_id]) if usable else None
    named = {each.reference.text: _ids_in_names(each.reference) for each in usable}
    ids = set[str]().union(*named.values())
    shared = {each.volume_id for each in usable if volumes[each.volume_id].shared}
    same_volumes = ownership.same_volumes(conn, shared) if shared else {}
    keys = {key for each in usable for key in _keys_elsewhere(each, same_volumes)}
    if with_references:
        keys |= {_key(each, volumes[each.volume_id]) for each in usable}
    live = ownership.live_projects(conn, ids) if ids else {}
    owners = ownership.owners_of_references(conn, keys) if keys else {}
    # Last, so that the id of a record whose reference was found is in use.
    in_use = records.ids_in_use(conn, chosen_ids) if chosen_ids else set[str]()
    return SnapshotFacts(in_use, volumes, refusals, room, named, live, same_volumes, owners)


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


def _keys_elsewhere(snapshot: Snapshot, same_volumes: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[str]:
    for server, volume_id in same_volumes.get(snapshot.volume_id, ()):
        yield reference_key(server, snapshot.reference, volume_id)


def _ids_in_names(reference: Reference) -> set[str]:
    """Return the ids in the names of a reference, which may be ids of records."""
    return {found for name in reference.value.values() if isinstance(name, str) for found in ids_in(name)}


def _require_usable(tx: Transaction, volume_id: str, volume: VolumeForRequest | None, project_id: str | None) -> None:
    """Raise an error unless snapshots of a volume can be managed; None for `project_id` is any project."""
    if volume is None or project_id not in (None, volume.project_id):
        raise errors.VolumeNotFound(volume_id)
    if volume.status is not Status.AVAILABLE:
        raise errors.InvalidState(
            f"Volume {volume_id} is {volume.status.value}; its snapshots can be managed when it is available."
        )
    service_rules.require_up(volume.service, volume.location.server, tx.now, tx.rules.service_down)
