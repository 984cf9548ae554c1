"""Old identities of snapshots, in records of earlier releases: the guid and the transaction, without the number.

Two snapshots can share an old identity, so it identifies a snapshot only together with its name.
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

    An object is found if its old identity and its whole name match. If its dataset was renamed or a clone was promoted,
    the whole name no longer matches. Then the old identity and the part after the @ of the managed name must match, and
    no other object may match them.

    Bindings whose object isn't found are left out. Two bindings with one old identity and two objects are left out too,
    since one old identity can't be replaced by two.
    """
    candidates: dict[str, set[str]] = {}
    for binding in bindings:
        candidates.setdefault(binding.identity, set()).update(_present(binding, snapshots))
    return {old: found.pop() for old, found in candidates.items() if len(found) == 1}


def _present(binding: Binding, snapshots: Sequence[Dataset]) -> list[str]:
    """Return the present identity of the binding's object as a list of one; an empty list where it isn't found."""
    same = [each for each in snapshots if each.old_identity == binding.identity]
    for name in (binding.managed_name, binding.original_name):
        if named := [each.identity for each in same if each.name == name]:
            return named
    moved = [each.identity for each in same if _snapshot_part(each.name) == _snapshot_part(binding.managed_name)]
    return moved if len(moved) == 1 else []


def _snapshot_part(name: str) -> str:
    return name.partition("@")[2]
