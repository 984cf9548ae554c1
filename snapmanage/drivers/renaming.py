"""The one procedure with which drivers rename an object, safely and repeatably.

Most backends rename by name, but records know objects by identity. So every driver has two primitives, `look` and
`rename`, and this module calls them in the safe order: look, rename, look again. `snapmanage.core.backend` decides
which objects may be renamed at all.

**Late renames.** A worker may stop between its look and its rename, and continue when its claim has long passed to
another worker. It may then still rename once. That is safe: the rename moves the object with the old name to the name
that was recorded with it. The recorded name is unique to one record, and a rename never replaces an object. The worker
then looks again; if the old name had passed to another object meanwhile, it restores that object's name. If the object
had been unmanaged meanwhile, it now has the managed name while it is unmanaged. Its identity and its data are
unchanged, so it can be managed again, or renamed by hand.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from snapmanage import crash, errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, Binding, Unsafe, refuse_unsafe
from snapmanage.crash import Point

__all__ = ["Renamer", "manage", "relocated", "unmanage"]


class Renamer(Protocol):
    """The two primitives of a driver."""

    def look(self, *names: str) -> Mapping[str, BackendSnapshot]:
        """Return the present object of each name, even if it is not a snapshot; leave out free names.

        If one look can't cover all names, look at them in the order given.
        """

    def rename(self, old: str, new: str) -> None:
        """Rename in one step, never replacing an object; raise an error of snapmanage if it failed or is uncertain."""


def manage(names: Renamer, binding: Binding) -> BackendSnapshot:
    """Rename the object to `managed_name`, as `Driver.manage_snapshot` requires."""
    found = _own(names, binding.identity, binding.original_name, binding.managed_name)
    if binding.managed_name in found:
        return found[binding.managed_name]
    if binding.original_name not in found:
        raise _gone(binding.original_name)
    refuse_unsafe(found[binding.original_name])
    return _rename(names, binding.identity, binding.original_name, binding.managed_name)


def unmanage(names: Renamer, binding: Binding) -> bool:
    """Rename the object back to `original_name`, as `Driver.unmanage_snapshot` requires.

    Return whether it had one of the two names. If not, it is gone, has another name, or is elsewhere.
    """
    found = _own(names, binding.identity, binding.managed_name, binding.original_name)
    managed = found.get(binding.managed_name)
    if managed is None or binding.original_name == binding.managed_name:
        return bool(found)
    # An unusable snapshot is renamed too; only one in use is refused.
    if managed.unsafe is Unsafe.IN_USE:
        refuse_unsafe(managed)
    try:
        _rename(names, binding.identity, binding.managed_name, binding.original_name)
    except errors.SourceNotFound:
        return False
    return True


def relocated(binding: Binding, located: Iterable[BackendObject], separator: str) -> Binding | None:
    """Return the binding with the names of the object's present place; None where no object fits.

    The whole name of an object called `VOLUME@NAME` or `FOLDER/NAME` changes with its volume or folder. If the part
    after the separator is still that of the managed name, the object still has to be unmanaged.
    """
    original, managed = (name.rpartition(separator)[2] for name in (binding.original_name, binding.managed_name))
    for each in located:
        place, _, last = each.name.rpartition(separator)
        if each.identity == binding.identity and last == managed and each.name != binding.managed_name:
            return Binding(binding.identity, f"{place}{separator}{original}" if place else original, each.name)
    return None


def _own(names: Renamer, identity: str, old: str, new: str) -> dict[str, BackendSnapshot]:
    """Return the object with this identity, by those of the two names that it has.

    The old name is looked at first, so that another worker's rename can't hide the object.
    """
    return {name: found for name, found in names.look(old, new).items() if found.identity == identity}


def _rename(names: Renamer, identity: str, old: str, new: str) -> BackendSnapshot:
    """Rename, then decide by the objects that now have the names, and not by the result of the rename."""
    crash.at(Point.RENAMING)
    failure: errors.SnapmanageError | None = None
    try:
        names.rename(old, new)
    except errors.SnapmanageError as raised:
        failure = raised
    crash.at(Point.RENAMED)
    seen = names.look(old, new)
    if new in seen and seen[new].identity == identity:
        return seen[new]
    if failure is None and new in seen and old not in seen:
        # Another object took the old name after the first look, and was moved; restore its name.
        names.rename(new, old)
    if old not in seen or seen[old].identity != identity:
        raise _gone(old)
    if failure is None:
        raise errors.BackendError(f"the backend reported the rename of {old!r} to {new!r} as done, but changed nothing")
    if new in seen:
        raise errors.NameTaken(f"another object is named {new!r}; rename it, so that {old!r} can get that name")
    raise failure


def _gone(name: str) -> errors.SourceNotFound:
    return errors.SourceNotFound(f"{name!r} is gone from the backend, or now belongs to another object; list it again")
