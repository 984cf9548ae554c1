"""Identities of snapshots in records of earlier releases: the guid with the transaction, without the number.

Two snapshots can share an old form, so it counts only together with a name.
"""

import re
from collections.abc import Iterable, Sequence

from snapmanage.core.backend import Binding
from snapmanage.drivers.zfs.report import Dataset

_OLD = re.compile(r"[0-9]+-[0-9]+", re.ASCII)


def is_old(identity: str) -> bool:
    """Return whether a snapshot's identity has the form of an earlier release."""
    return _OLD.fullmatch(identity) is not None


def renewed(bindings: Iterable[Binding], snapshots: Sequence[Dataset]) -> dict[str, str]:
    """Return the present identity of each binding's object, by its old identity.

    An object counts as found when its old form and its whole name agree. Its dataset changes with a rename, or with the
    promotion of a clone. Then the old form and the managed name behind the @ must agree, for this object alone.

    Bindings whose object isn't found are left out. So are two bindings with one old form and two objects, since one old
    identity can't be replaced by two.
    """
    candidates: dict[str, set[str]] = {}
    for binding in bindings:
        candidates.setdefault(binding.identity, set()).update(_present(binding, snapshots))
    return {old: found.pop() for old, found in candidates.items() if len(found) == 1}


def _present(binding: Binding, snapshots: Sequence[Dataset]) -> list[str]:
    """Return the present identity of the binding's object, alone in a list; an empty list where it isn't found."""
    same = [each for each in snapshots if each.old_identity == binding.identity]
    for name in (binding.managed_name, binding.original_name):
        if named := [each.identity for each in same if each.name == name]:
            return named
    moved = [each.identity for each in same if _own(each.name) == _own(binding.managed_name)]
    return moved if len(moved) == 1 else []


def _own(name: str) -> str:
    return name.partition("@")[2]
