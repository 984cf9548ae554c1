"""The one way in which drivers bring an object from one name to another, safely and repeatably.

Most backends rename by name, while what is wanted is known by identity. So every driver gives this
module two primitives, a look and a rename, and the order of looking, renaming and looking again is
here, once. What may be renamed at all is decided in `snapmanage.core.backend`.

A worker that was stopped after its look, and that goes on when its claim has long passed to another,
may still rename once. That is safe: it can only move what bears the old name to the name that was
recorded with it, which is unique to one record, and never onto another object, since renaming never
replaces. It looks again then; had the old name passed to another object meanwhile, that gets its name
back. If the object had been given back meanwhile, it bears the managed name unmanaged, its identity
and its data as before, and can be managed again or renamed by hand.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from snapmanage import crash, errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, Binding, Unsafe, refuse_unsafe
from snapmanage.crash import Point

__all__ = ["Renamer", "manage", "relocated", "unmanage"]


class Renamer(Protocol):
    """The names on a backend."""

    def look(self, *names: str) -> Mapping[str, BackendSnapshot]:
        """What bears each of the names now, be it a snapshot or not; a name that is free is left out.

        Names that can't be looked at in one go are looked at in the order given.
        """

    def rename(self, old: str, new: str) -> None:
        """Rename at once, never replacing; any error of snapmanage when it may not have happened."""


def manage(names: Renamer, binding: Binding) -> BackendSnapshot:
    """Make the object bear `managed_name`, as `Driver.manage_snapshot` promises."""
    found = _ours(names, binding.identity, binding.original_name, binding.managed_name)
    if binding.managed_name in found:
        return found[binding.managed_name]
    if binding.original_name not in found:
        raise _gone(binding.original_name)
    refuse_unsafe(found[binding.original_name])
    return _rename(names, binding.identity, binding.original_name, binding.managed_name)


def unmanage(names: Renamer, binding: Binding) -> bool:
    """Make the object bear `original_name` again, as `Driver.unmanage_snapshot` promises.

    Return whether it bore one of the two names. If not, it is gone, is called otherwise, or is elsewhere.
    """
    found = _ours(names, binding.identity, binding.managed_name, binding.original_name)
    managed = found.get(binding.managed_name)
    if managed is None or binding.original_name == binding.managed_name:
        return bool(found)
    # An unusable snapshot is still given back: keeping it would help nobody.
    if managed.unsafe is Unsafe.IN_USE:
        refuse_unsafe(managed)
    try:
        _rename(names, binding.identity, binding.managed_name, binding.original_name)
    except errors.SourceNotFound:
        return False
    return True


def relocated(binding: Binding, located: Iterable[BackendObject], separator: str) -> Binding | None:
    """Return the binding with the names that the object has where it is now.

    An object called `VOLUME@NAME` or `FOLDER/NAME` is called otherwise once its volume or folder was renamed. If its
    own name is still the managed one, it is still to be given back. None where no object is like that.
    """
    original, managed = (name.rpartition(separator)[2] for name in (binding.original_name, binding.managed_name))
    for each in located:
        place, _, own = each.name.rpartition(separator)
        if each.identity == binding.identity and own == managed and each.name != binding.managed_name:
            return Binding(binding.identity, f"{place}{separator}{original}" if place else original, each.name)
    return None


def _ours(names: Renamer, identity: str, old: str, new: str) -> dict[str, BackendSnapshot]:
    """Where the object is; the old name is looked at first, so that another worker's rename can't hide it."""
    return {name: found for name, found in names.look(old, new).items() if found.identity == identity}


def _rename(names: Renamer, identity: str, old: str, new: str) -> BackendSnapshot:
    """Rename, then judge by what bears the names and not by how the rename ended."""
    crash.at(Point.RENAMING)
    failure = _attempt(names, old, new)
    crash.at(Point.RENAMED)
    seen = names.look(old, new)
    if new in seen and seen[new].identity == identity:
        return seen[new]
    if failure is None:
        _put_back(names, seen, old, new)
    if old not in seen or seen[old].identity != identity:
        raise _gone(old)
    if failure is None:
        raise errors.BackendError(f"the rename of {old!r} to {new!r} was reported as done, and changed nothing")
    if new in seen:
        raise errors.NameTaken(f"another object is called {new!r}; rename it, so that {old!r} can have that name")
    raise failure


def _attempt(names: Renamer, old: str, new: str) -> errors.SnapmanageError | None:
    try:
        names.rename(old, new)
    except errors.SnapmanageError as failure:
        return failure
    return None


def _put_back(names: Renamer, seen: Mapping[str, BackendSnapshot], old: str, new: str) -> None:
    """Undo a rename that moved another object, which took the old name after we had looked."""
    if new in seen and old not in seen:
        names.rename(new, old)


def _gone(name: str) -> errors.SourceNotFound:
    return errors.SourceNotFound(f"{name!r} is gone from the backend, or is another object by now; list it again")
