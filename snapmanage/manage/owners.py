"""Refuse requests for objects that other records own, and name these records.

Where a unique key has refused a request, the record is looked up after the transaction, so that requests which succeed
cost no query more.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from snapmanage import errors
from snapmanage.core.records import Snapshot, reference_key
from snapmanage.core.reference import Reference
from snapmanage.core.values.ids import ids_in
from snapmanage.manage.application import Application
from snapmanage.store import ownership, records


@contextmanager
def named(app: Application) -> Iterator[None]:
    """Let an `AlreadyManaged` of the block name the owner."""
    try:
        yield
    except errors.AlreadyManaged as error:
        raise explained(app, error) from error


def explained(app: Application, error: Exception) -> Exception:
    """Return an `AlreadyManaged` with the owner, if its keys have one; return another error as it is."""
    if not isinstance(error, errors.AlreadyManaged) or not error.keys:
        return error
    with app.db.read() as conn:
        found = ownership.holder(conn, error.keys, error.refused_id)
    if found is None:
        return error
    return explained_by(error, *found)


def explained_by(error: errors.AlreadyManaged, kind: str, owner_id: str, project_id: str) -> errors.AlreadyManaged:
    """Return an `AlreadyManaged` with its owner."""
    return errors.AlreadyManaged(f"{error}: it is {kind} {owner_id}", owner_id=owner_id, project_id=project_id)


@dataclass
class ObjectOwners:
    """The owners that refuse requests; an accepted request becomes one for the requests after it.

    `named` are the ids in the names of a reference, by its text, and `live` the projects of those of them whose
    snapshots own an object. `same_volumes` are the records of other servers for a volume, as pairs of server and id.
    `by_reference` are pairs of id and project, by keys of references.
    """

    named: Mapping[str, Set[str]]
    same_volumes: Mapping[str, Sequence[tuple[str, str]]]
    live: dict[str, str]
    by_reference: dict[str, tuple[str, str]]

    def refuse_owned(self, snapshot: Snapshot) -> None:
        """Raise `AlreadyManaged` if another record is known to own the object of the reference.

        The object's name holds the id of a live record, or a server of the storage manages this reference.
        """
        named = self.named[snapshot.reference.text] & self.live.keys() - {snapshot.id}
        owner = min(((each, self.live[each]) for each in named), default=None)
        if owner is None:
            elsewhere = _keys_elsewhere(snapshot, self.same_volumes)
            owner = next((self.by_reference[key] for key in elsewhere if key in self.by_reference), None)
        if owner:
            raise errors.AlreadyManaged(
                f"the object that {snapshot.reference.text} names is already managed as snapshot {owner[0]}; "
                "unmanage that one first",
                owner_id=owner[0],
                project_id=owner[1],
            )
        if owner := self.by_reference.get(str(snapshot.reference_key)):
            raise explained_by(records.already_managed(snapshot), "snapshot", *owner)

    def add(self, snapshot: Snapshot) -> None:
        project_id = snapshot.requester.project_id
        self.live[snapshot.id] = project_id
        self.by_reference[str(snapshot.reference_key)] = (snapshot.id, project_id)


def of_references(
    conn: Connection, snapshots: Collection[Snapshot], shared: Collection[str], keys: Collection[str] = ()
) -> ObjectOwners:
    """Return the owners of the objects of the snapshots' references, each kind read with one query.

    `shared` are the ids of the volumes whose storage other servers serve too. The owners of the references with `keys`
    are looked up; for other references on the snapshots' own servers the unique key decides.
    """
    named = {each.reference.text: _ids_in_names(each.reference) for each in snapshots}
    ids = set[str]().union(*named.values())
    same_volumes = ownership.same_volumes(conn, shared) if shared else {}
    wanted = {*keys, *(key for each in snapshots for key in _keys_elsewhere(each, same_volumes))}
    live = ownership.live_projects(conn, ids) if ids else {}
    return ObjectOwners(named, same_volumes, live, ownership.owners_of_references(conn, wanted) if wanted else {})


def _keys_elsewhere(snapshot: Snapshot, same_volumes: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[str]:
    """Yield the keys that the snapshot's reference has on other servers of the storage."""
    for server, volume_id in same_volumes.get(snapshot.volume_id, ()):
        yield reference_key(server, snapshot.reference, volume_id)


def _ids_in_names(reference: Reference) -> set[str]:
    """Return the ids in the names of a reference, which may be ids of records."""
    return {found for name in reference.value.values() if isinstance(name, str) for found in ids_in(name)}
