"""Where records and backend disagree, although nothing is under way."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.core.records import Operation, Snapshot, Status


class Kind(Enum):
    """What can be wrong; the value is the word for it."""

    VANISHED = "VANISHED"
    RENAMED = "RENAMED"
    TWICE = "TWICE"
    UNOWNED = "UNOWNED"


@dataclass(frozen=True)
class Difference:
    """One disagreement; `binding` tells how what was renamed would get its name back, where it shall."""

    kind: Kind
    snapshot: Snapshot
    text: str
    binding: Binding | None = None


def settled(before: Sequence[Snapshot], after: Sequence[Snapshot]) -> list[Snapshot]:
    """Those that didn't move between two looks: only they can be compared with what was seen in between."""
    known = {snapshot.id: snapshot for snapshot in before}
    return [
        snapshot
        for snapshot in after
        if not snapshot.status.in_progress
        and snapshot.id in known
        and known[snapshot.id].generation == snapshot.generation
    ]


def differences(snapshots: Sequence[Snapshot], found: Sequence[BackendSnapshot]) -> list[Difference]:
    """Compare settled snapshots of one server, tombstones too, with everything on its backend."""
    ours = [snapshot for snapshot in snapshots if _is_ours(snapshot)]
    seen = {each.identity: each for each in found}
    return [*_misplaced(ours, seen), *_owned_twice(ours), *_unowned(snapshots, seen)]


def _is_ours(snapshot: Snapshot) -> bool:
    """What is managed, and what couldn't be given back."""
    failed = snapshot.status is Status.ERROR and snapshot.operation is Operation.UNMANAGE
    return snapshot.status is Status.AVAILABLE or failed


def _misplaced(ours: Sequence[Snapshot], seen: Mapping[str, BackendSnapshot]) -> Iterator[Difference]:
    for snapshot in ours:
        there = seen.get(snapshot.backend_id or "")
        if there is None:
            yield Difference(Kind.VANISHED, snapshot, f"{snapshot.backend_name!r} is gone from the backend")
        elif there.name != snapshot.backend_name:
            # What was asked back shall not get its managed name again.
            managed = snapshot.status is Status.AVAILABLE
            binding = Binding(there.identity, there.name, snapshot.backend_name or there.name) if managed else None
            text = f"{snapshot.backend_name!r} is called {there.name!r} by now"
            yield Difference(Kind.RENAMED, snapshot, text, binding)


def _owned_twice(ours: Sequence[Snapshot]) -> Iterator[Difference]:
    owners: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in ours:
        owners[snapshot.backend_id or ""].append(snapshot)
    for first, *others in owners.values():
        for other in others:
            yield Difference(Kind.TWICE, other, f"{other.backend_name!r} is managed as {first.id} too")


def _unowned(snapshots: Sequence[Snapshot], seen: Mapping[str, BackendSnapshot]) -> Iterator[Difference]:
    """An object that bears a managed name, and that the record whose name it is doesn't manage."""
    owned = {snapshot.backend_id for snapshot in snapshots if _is_ours(snapshot)}
    for snapshot in snapshots:
        there = seen.get(snapshot.backend_id or "")
        if (
            there is not None
            and there.identity not in owned
            and snapshot.backend_name == there.name != snapshot.original_name
        ):
            text = f"{there.name!r} bears its managed name, and it is {snapshot.status.value}"
            yield Difference(Kind.UNOWNED, snapshot, text)
