"""The subvolumes of a btrfs as seen from a folder on it: their names there, and the obstacles to renaming each.

`folder` calls this module as root.
"""

from collections import Counter
from collections.abc import Collection, Sequence

from snapmanage.drivers.btrfs import snapper, trees
from snapmanage.drivers.btrfs.lookup import Lookup, Unclear
from snapmanage.drivers.btrfs.trees import Subvolume
from snapmanage.drivers.btrfs.view import ESCAPED, ITSELF, OUTSIDE, Member, View, Whole

MOST_LISTED_BYTES = 64 * 1024**2
"""The most text in a listing. Beyond it, the subvolumes in the entry of the folder that has most text are left out.

A user can fill a volume of its own with snapshots, and a reply of the helper has a limit too.
"""


def read(fd: int) -> list[Member] | None:
    """Return the snapshots in an open folder; None where the folder was removed.

    If the snapshots have too much text, a member with a `fault` stands for those that are left out. Raise `OSError`.
    """
    here, found = trees.read(fd)
    if here is None:
        return None
    view = View(fd, here, Whole(found))
    named = ((view.name(each), each) for each in found)
    listed = (view.member(name, each) for name, each in named if _is_listed(name, each))
    return _fitting([_noted(fd, each) for each in listed], "snapshots")


def look_up(fd: int, names: Sequence[str]) -> tuple[list[Member], list[str]]:
    """Look up each of these names in an open folder by itself, in the order given.

    Return the subvolumes, and the names that only a search of all subvolumes can decide, such as one with an odd place,
    or that of a snapshot whose parent is gone.
    """
    found: list[Member] = []
    try:
        lookup = Lookup(fd)
        if lookup.here is None:
            return [], list(names)
        view = View(fd, lookup.here, lookup)
    except (OSError, Unclear):
        return [], list(names)
    named, undecided = lookup.named(names)
    for name, each in named.items():
        try:
            found.append(_noted(fd, view.member(name, each)))
        except (OSError, Unclear):
            undecided.add(name)
    return found, sorted(undecided)


def search_for(fd: int, names: Collection[str]) -> list[Member] | None:
    """Search all subvolumes for those of these names, also outside of the open folder; None if it was removed.

    A subvolume that is renamed meanwhile is seen under one of its names, where lookups can miss both. Raise `OSError`.
    """
    here, found = trees.read(fd)
    if here is None:
        return None
    view = View(fd, here, Whole(found))
    named = ((view.name(each), each) for each in found)
    return [_noted(fd, view.member(name, each)) for name, each in named if name in names]


def read_volumes(fd: int) -> list[Member] | None:
    """Return the volumes in an open folder like the snapshots that `read` returns.

    Of snapshots, only those are volumes that have snapshots of their own. A subvolume outside of the folder is a volume
    if a snapshot in the folder was made from it.
    """
    here, found = trees.read(fd)
    if here is None:
        return None
    view = View(fd, here, Whole(found))
    named = [(view.name(each), each) for each in found]
    parents = {each.parent_identity for name, each in named if _is_listed(name, each)} - {None}
    members = [
        view.member(name, each) for name, each in named if not name.startswith(OUTSIDE) or each.identity in parents
    ]
    # Obstacles to a rename don't matter, since a volume keeps its name.
    volumes = [each._replace(in_use="", fault="") for each in members if not each.is_snapshot or each.has_snapshots]
    return _fitting(volumes, "volumes")


def names_and_identities(fd: int) -> list[tuple[str, str]] | None:
    """Return name and identity of every subvolume of the file system; None where the open folder was removed.

    Raise `OSError`.
    """
    here, found = trees.read(fd)
    if here is None:
        return None
    view = View(fd, here, Whole(found))
    return [(view.name(each), view.identity(each)) for each in found]


def _noted(fd: int, member: Member) -> Member:
    """Return the member with the notes about it; an escaped name could be the path of another one."""
    if not member.is_snapshot or member.name.startswith((ESCAPED, OUTSIDE)):
        return member
    notes = snapper.notes(fd, member.name)
    if notes == snapper.NO_NOTES:
        return member
    return member._replace(taken_at=notes.taken_at, description=notes.description)


def _is_listed(name: str, each: Subvolume) -> bool:
    # The subvolume whose top is the folder has no name in the folder that could be changed.
    return each.is_snapshot and name != ITSELF and not name.startswith(OUTSIDE)


def _fitting(found: list[Member], kind: str) -> list[Member]:
    """Return the members, or those that fit into a listing with one member for the rest; all are of one `kind`."""
    sizes = Counter[str]()
    for each in found:
        sizes[_entry(each)] += sum(len(field.encode()) for field in each if isinstance(field, str))
    largest = sizes.most_common()
    total, left_out = sizes.total(), set[str]()
    for entry, size in largest:
        if total <= MOST_LISTED_BYTES:
            break
        left_out.add(entry)
        total -= size
    kept = [each for each in found if _entry(each) not in left_out]
    return [*kept, _rest(kind, len(found) - len(kept), largest[0][0])] if left_out else found


def _entry(member: Member) -> str:
    """Return the entry of the folder that has the member."""
    return member.name.partition("/")[0]


def _rest(kind: str, count: int, entry: str) -> Member:
    fault = (
        f"it stands for {count} {kind} that are not listed, since they have too much text; most of it is in "
        f"{entry!r}: remove {kind} there"
    )
    name, identity = f"{ESCAPED}more {kind}", f"more-{kind}"
    return Member(name, identity, True, None, None, False, True, 0.0, None, "", "", fault)
