"""Differences between the settled records of a server and its backend.

A snapshot is gone only if no object on the backend has its identity or its name. An object that has both, but
isn't listed as a snapshot any more (its origin was removed, say), is no difference: the record is still right.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from enum import Enum

from snapmanage.core.backend import BackendObject, BackendSnapshot, Binding
from snapmanage.core.records import Operation, Snapshot, Status
from snapmanage.core.values.ids import ids_in, own_name


class Kind(Enum):
    """The kinds of differences; the value is printed."""

    VANISHED = "VANISHED"
    RENAMED = "RENAMED"
    REPLACED = "REPLACED"
    TWICE = "TWICE"
    UNOWNED = "UNOWNED"
    UNSIZED = "UNSIZED"


@dataclass(frozen=True)
class Difference:
    """One difference.

    With `binding`, `--fix` can give a renamed object its managed name again. `size_gb` is a size that the backend
    didn't know when the record was written. `certain` is False for a missing snapshot that may be on another storage.
    """

    kind: Kind
    snapshot: Snapshot
    text: str
    binding: Binding | None = None
    size_gb: int | None = None
    certain: bool = True


def settled(before: Sequence[Snapshot], after: Sequence[Snapshot]) -> list[Snapshot]:
    """Return the snapshots that were settled and unchanged while the backend was listed; only they can be compared."""
    known = {snapshot.id: snapshot for snapshot in before}
    return [
        snapshot
        for snapshot in after
        if not snapshot.status.in_progress
        and snapshot.id in known
        and known[snapshot.id].generation == snapshot.generation
    ]


def unlisted(snapshots: Sequence[Snapshot], found: Sequence[BackendSnapshot]) -> list[Snapshot]:
    """Return the owned snapshots that a list doesn't show under their name: the driver must locate them."""
    listed = {(each.identity, each.name) for each in found}
    return [each for each in snapshots if _is_ours(each) and (each.backend_id, each.backend_name) not in listed]


def differences(
    snapshots: Sequence[Snapshot], found: Sequence[BackendSnapshot], located: Sequence[BackendObject]
) -> list[Difference]:
    """Compare settled snapshots of one server, tombstones too, with its backend.

    `found` is the backend's list; `located` are the objects that the driver located for the snapshots of `unlisted`.
    """
    ours = [snapshot for snapshot in snapshots if _is_ours(snapshot)]
    seen = {each.identity: each for each in found}
    misplaced = _misplaced(ours, _Objects(found, located))
    return [*misplaced, *_owned_twice(ours), *_unowned(snapshots, seen), *_unsized(ours, seen)]


class _Objects:
    """The objects of a backend, by identity and by name."""

    def __init__(self, found: Sequence[BackendSnapshot], located: Sequence[BackendObject]) -> None:
        self._listed = _names_by_identity(BackendObject(each.name, each.identity) for each in found)
        every = [*(BackendObject(each.name, each.identity) for each in found), *located]
        self._names = _names_by_identity(every)
        self.names_in_use = {each.name for each in every}
        self.unreadable = {each.name for each in every if not each.identity}

    def names(self, identity: str) -> list[str]:
        """Return the names of an object; those that the backend lists as snapshots are the first ones."""
        return [*self._listed.get(identity, ()), *self._names.get(identity, ())]

    def is_listed(self, identity: str) -> bool:
        return identity in self._listed


def _names_by_identity(objects: Iterable[BackendObject]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for each in objects:
        if each.identity:
            names[each.identity].append(each.name)
    return names


def guarded(found: Iterable[Difference], live: Set[str], elsewhere: Mapping[str, str]) -> Iterator[Difference]:
    """Yield the differences; those of an object that another record owns, too, lose their binding and can't be fixed.

    `live` are the ids of records that own an object, `elsewhere` the owners on other servers by our snapshots' ids.
    """
    for each in found:
        owner = elsewhere.get(each.snapshot.id)
        if each.binding and owner is None:
            owner = min(ids_in(each.binding.original_name) & live - {each.snapshot.id}, default=None)
        yield replace(each, binding=None, text=f"{each.text}, and is managed as {owner} too") if owner else each


def on_storage(found: Iterable[Difference], storage: str | None) -> Iterator[Difference]:
    """Yield the differences; the loss of a snapshot that was on another storage than `storage` is not certain."""
    for each in found:
        moved = storage and each.snapshot.storage and each.snapshot.storage != storage
        if each.kind is Kind.VANISHED and moved:
            text = (
                f"{each.text}; but its record is on another storage than the backend is now: see whether the right "
                "one is mounted, and restart snapmanage-volume if it was replaced"
            )
            yield replace(each, text=text, certain=False)
        else:
            yield each


def owned_elsewhere(snapshots: Sequence[Snapshot], elsewhere: Mapping[str, str]) -> Iterator[Difference]:
    """Yield a difference for each object that a snapshot of another server owns, too."""
    for each in snapshots:
        if _is_ours(each) and (owner := elsewhere.get(each.id)):
            text = f"{each.backend_name!r} is managed as {owner} too, by another server of the same storage"
            yield Difference(Kind.TWICE, each, text)


def _is_ours(snapshot: Snapshot) -> bool:
    """Return whether the snapshot owns its object: it is managed, or unmanaging it has failed."""
    failed = snapshot.status is Status.ERROR and snapshot.operation is Operation.UNMANAGE
    return snapshot.status is Status.AVAILABLE or failed


def _misplaced(ours: Sequence[Snapshot], objects: _Objects) -> Iterator[Difference]:
    for snapshot in ours:
        identity, name = snapshot.backend_id or "", snapshot.backend_name or ""
        names = objects.names(identity)
        if name in names or name in objects.unreadable:
            continue
        if names:
            yield from _renamed(snapshot, identity, names, objects.is_listed(identity))
        elif name in objects.names_in_use:
            text = f"{name!r} is another object now, and the snapshot is nowhere on the backend"
            yield Difference(Kind.REPLACED, snapshot, text)
        else:
            text = f"{name!r} is gone: nothing on the backend has its name or its identity"
            yield Difference(Kind.VANISHED, snapshot, text)


def _renamed(snapshot: Snapshot, identity: str, names: Sequence[str], listed: bool) -> Iterator[Difference]:
    """Yield a renamed object; it can be fixed if it is listed as a snapshot, has one name, and is `available`."""
    managed_name = snapshot.backend_name or ""
    if snapshot.original_name == managed_name or (listed and _keeps_own_name(snapshot, names[0])):
        return
    # One of several names may belong to another owner, such as a hard link.
    fixable = listed and len(set(names)) == 1 and snapshot.status is Status.AVAILABLE
    binding = Binding(identity, names[0], managed_name) if fixable else None
    yield Difference(Kind.RENAMED, snapshot, f"{managed_name!r} is named {names[0]!r} now", binding)


def _keeps_own_name(snapshot: Snapshot, name: str) -> bool:
    """Return whether the object's own name is its managed name: only its volume or folder was renamed or moved."""
    own = own_name(snapshot.backend_name or "")
    return snapshot.id in own and own == own_name(name)


def _owned_twice(ours: Sequence[Snapshot]) -> Iterator[Difference]:
    owners: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in ours:
        owners[snapshot.backend_id or ""].append(snapshot)
    for first, *others in owners.values():
        for other in others:
            yield Difference(Kind.TWICE, other, f"{other.backend_name!r} is managed as {first.id} too")


def _unowned(snapshots: Sequence[Snapshot], seen: Mapping[str, BackendSnapshot]) -> Iterator[Difference]:
    """Yield the objects that have the managed name of a record that doesn't manage them."""
    owned = {snapshot.backend_id for snapshot in snapshots if _is_ours(snapshot)}
    for snapshot in snapshots:
        found = seen.get(snapshot.backend_id or "")
        if (
            found is not None
            and found.identity not in owned
            and snapshot.backend_name == found.name != snapshot.original_name
        ):
            text = f"{found.name!r} has the managed name of the snapshot, which is {snapshot.status.value}"
            yield Difference(Kind.UNOWNED, snapshot, text)


def _unsized(ours: Sequence[Snapshot], seen: Mapping[str, BackendSnapshot]) -> Iterator[Difference]:
    """Yield the sizes that the backend didn't know at first, such as btrfs while it counts quotas."""
    for snapshot in ours:
        found = seen.get(snapshot.backend_id or "")
        if found is not None and snapshot.size_gb == 0 and found.size_gb:
            text = f"{found.name!r} was recorded with a size of 0 GiB, and it has {found.size_gb} GiB"
            yield Difference(Kind.UNSIZED, snapshot, text, size_gb=found.size_gb)
