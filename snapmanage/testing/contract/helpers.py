"""Helpers for the contract of a driver.

Two marks are for the drivers of snapmanage itself. Its tests of LVM run on metadata, where no snapshot can be opened,
and again in a guest with a kernel of its own (`tests/integration/test_lvm_kernel`). The guest skips the tests marked
`no_kernel`: they don't depend on device-mapper. It runs the tests marked `active` on active snapshots only.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming
from snapmanage.drivers.renaming import Renamer
from snapmanage.testing.lab import Lab


def new_snapshot(lab: Lab, word: str = "daily") -> BackendSnapshot:
    """Make a snapshot and return the driver's description of it."""
    name = lab.name_of(word)
    lab.add_snapshot(name)
    return lab.driver.find_snapshot(Reference.named(name))


def binding_of(lab: Lab, snapshot: BackendSnapshot) -> Binding:
    """Return a binding of the snapshot to a new record."""
    managed_name = lab.driver.managed_name(snapshot, f"snapshot-{uuid.uuid4()}")
    return Binding(snapshot.identity, snapshot.name, managed_name)


def counted(function: Callable[..., Any], calls: list[object]) -> Callable[..., Any]:
    """Return the function so that it adds each of its calls to `calls`."""

    def append_and_call(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return function(*arguments, **named)

    return append_and_call


def by_name(snapshot: BackendSnapshot) -> str:
    return snapshot.name


class WorkerKilled(BaseException):
    """Stands for SIGKILL: no code of a driver handles it."""


@dataclass(frozen=True)
class KillingRenamer:
    """A `Renamer` that kills the worker right before or right after the rename."""

    names: Renamer
    after: bool

    def look(self, *names: str) -> Mapping[str, BackendSnapshot | errors.SnapmanageError]:
        return self.names.look(*names)

    def rename(self, old: str, new: str) -> None:
        if self.after:
            self.names.rename(old, new)
        raise WorkerKilled


@contextmanager
def killed_at_rename(after: bool) -> Iterator[None]:
    """Kill the worker at the next rename inside the context, and check that it was killed."""
    with pytest.MonkeyPatch.context() as patch:
        for operation in (renaming.manage_many, renaming.unmanage_many):
            patch.setattr(renaming, operation.__name__, _killed_at_rename(operation, after))
        with pytest.raises(WorkerKilled):
            yield


def _killed_at_rename(
    operation: Callable[[Renamer, Sequence[Binding]], object], after: bool
) -> Callable[[Renamer, Sequence[Binding]], object]:
    return lambda names, bindings: operation(KillingRenamer(names, after), bindings)


@contextmanager
def check_raises(kind: type[errors.SnapmanageError], code: str) -> Iterator[None]:
    with pytest.raises(kind) as caught:
        yield
    assert caught.value.code == code
    assert str(caught.value)
