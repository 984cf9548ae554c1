"""Identities of snapshots that records of earlier releases have: the guid with the transaction, without the number.

Two snapshots can share an old form, so it counts only together with a name.
"""

import re
from collections.abc import Iterable, Sequence

from snapmanage.core.backend import Binding
from snapmanage.drivers.zfs.report import Dataset

_OLD = re.compile(r"[0-9]+-[0-9]+", re.ASCII)


def is_old(identity: str) -> bool:
    """Whether a snapshot's identity has the form of an earlier release."""
    return _OLD.fullmatch(identity) is not None


def renewed(bindings: Iterable[Binding], snapshots: Sequence[Dataset]) -> dict[str, str]:
    """Return the present identity of each object that is found without doubt, by its old one.

    Two bindings of one old form would need two answers, so neither gets one.
    """
    answers: dict[str, set[str]] = {}
    for binding in bindings:
        answers.setdefault(binding.identity, set()).update(_present(binding, snapshots))
    return {old: found.pop() for old, found in answers.items() if len(found) == 1}


def _present(binding: Binding, snapshots: Sequence[Dataset]) -> list[str]:
    same = [each for each in snapshots if each.old_identity == binding.identity]
    for name in (binding.managed_name, binding.original_name):
        if named := [each.identity for each in same if each.name == name]:
            return named
    moved = [each.identity for each in same if _own(each.name) == _own(binding.managed_name)]
    return moved if len(moved) == 1 else []


def _own(name: str) -> str:
    return name.partition("@")[2]
