"""The `Driver` protocol: what snapmanage asks of a storage backend.

A driver is a class under the entry point group `snapmanage.drivers`. It states facts and renames;
whether a snapshot may be managed is decided in `snapmanage.core.backend`, the same for all. Every
driver passes `tests/contract/test_drivers*.py` on its real backend.

Drivers are called from several threads at once. They raise `snapmanage.errors` only: an `Invalid`
where trying again never helps, a `BackendError` where it may.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from oslo_config import cfg

from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference

__all__ = ["Driver", "Section"]


@dataclass(frozen=True)
class Section:
    """A backend's section as it stands in the configuration files, for a driver that reads more than its `options`.

    `values` has every key with all that is given for it, unread, in the order of the files: the last
    counts, but for options that may be given several times.
    """

    name: str
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    snapshot_name_template: str = ""


class Driver(Protocol):
    """One configured backend.

    The constructor takes each of `options` as a keyword argument of the same name, and touches
    nothing: the first look at the backend is `check`. Where the class has `takes_section = True`, it also
    takes `section`, a `Section`: what it finds there is the driver's own to register, read and refuse.
    """

    options: ClassVar[Sequence[cfg.Opt]]

    def check(self) -> None:
        """Return when the backend can be worked with; `BackendError` or `ConfigurationError` with the remedy."""

    def storage_id(self) -> str | None:
        """Return which storage this is: the same text on every server that serves it, and no other's, at most 255 long.

        Made of what the storage itself keeps, such as the UUID of a volume group. An object has one owner on a
        storage, whichever server reaches it. None where the driver can't say; then each server's objects are its own.
        Called once the backend has passed `check`; raise `BackendError` where it doesn't answer.
        """

    def list_snapshots(self) -> list[BackendSnapshot]:
        """Every snapshot on the backend, in one scan, in any order; `BackendError`, never an empty list instead."""

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        """The snapshot a caller means, as it is now.

        `volume` is the backend's name of the volume that the caller says it is of, where that is known:
        some references mean something only together with it. An unsafe snapshot, or another volume's,
        is returned and not refused.

        `InvalidReference`, `SourceNotFound`, `NotASnapshot`, `BackendError`.
        """

    def find_volume(self, reference: Reference) -> BackendVolume:
        """The volume a caller means; `InvalidReference`, `SourceNotFound`, `NotAVolume`, `BackendError`."""

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        """Return every object on the backend that has one of the identities or one of the names, of any kind.

        Only an object that is missing here counts as gone. So an object that exists but can't be read is returned
        under its name with the identity "", or a `BackendError` is raised. Where the backend can't be asked, raise
        `BackendError`, never return an empty list. An object is found by its identity wherever it is on the backend.
        """

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        """The name that `found` shall bear once managed, made of `name` by the backend's own rules.

        `name` is unique to one record (`snapshot_name_template`), and so must the result be. What can't be
        renamed keeps its name, and that it is managed stands in the record alone.
        """

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        """Make the object bear `managed_name`, and describe it; done twice equals once.

        Looks for the finished state first. Never replaces another object: `NameTaken`. The identity
        is checked right before the rename: `SourceNotFound` when `original_name` is gone or is
        another object by now, `InUse` or `Unusable` when it can't be renamed safely.
        """

    def unmanage_snapshot(self, binding: Binding) -> None:
        """Make the object bear `original_name` again; done twice equals once.

        Returns when the object is gone, or bears a third name: it isn't ours to rename. `NameTaken`
        when another object has the name, `InUse` when it can't be renamed now. An object that still bears
        `managed_name` gets its old name back, even if it is no snapshot any more by the driver's definition;
        where that can't be done, raise `Unusable`.
        """
