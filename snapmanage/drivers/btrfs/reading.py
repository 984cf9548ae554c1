"""Read the subvolumes of many names as root: each by itself, and the rest in one search of all subvolumes."""

from collections.abc import Collection, Mapping, Sequence

from snapmanage import errors
from snapmanage.drivers.btrfs import privileged
from snapmanage.drivers.btrfs.view import Member
from snapmanage.drivers.system import privsep

Read = Mapping[str, Member | errors.SnapmanageError]


def look_up(folder: str, file_system: str, names: Sequence[str]) -> tuple[dict[str, Member], set[str]]:
    """Return the subvolumes of these names, and the names that only a search can decide; leave out free names."""
    found, undecided = privsep.call(privileged.look_up, folder, file_system, names)
    members = [Member(*fields) for fields in found]
    return {each.name: each for each in members}, set(undecided)


def with_search(folder: str, file_system: str, found: Mapping[str, Member], names: Collection[str]) -> Read:
    """Return `found` with the results of a search for `names`, which needs none if there are no names.

    The search is later, so an object that it finds has no other name any more. A search that fails is the error of
    those names that are not in `found`, and of no others.
    """
    if not names:
        return found
    try:
        searched = privsep.call(privileged.search_for, folder, file_system, sorted(names))
    except errors.SnapmanageError as failure:
        return {**dict.fromkeys(names, failure), **found}
    members = [Member(*fields) for fields in searched]
    later = {each.identity for each in members if each.identity}
    rest = {name: each for name, each in found.items() if name not in names and each.identity not in later}
    return {**rest, **{each.name: each for each in members}}
