"""The `Driver` protocol: the methods that snapmanage requires of a storage backend.

A driver is a class under the entry point group `snapmanage.drivers`. It reports facts and renames objects.
`snapmanage.core.backend` decides whether a snapshot may be managed, by the same rules for all drivers. Every driver
passes the tests of `snapmanage.testing.contract` on its real backend.

Several threads call a driver at once. It raises errors of `snapmanage.errors` only: an `Invalid` where a retry never
helps, a `BackendError` where a retry may help.
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
    """A backend's section of the configuration files, for a driver that reads more than its `options`.

    `values` has the unparsed values of every key, in the order of the files. The last value counts, except for options
    that may be given several times.
    """

    name: str
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    snapshot_name_template: str = ""


class Driver(Protocol):
    """One configured backend.

    The constructor takes each of `options` as a keyword argument of the same name, and doesn't access the backend:
    `check` is the first to do so. If the class has `takes_section = True`, the constructor also takes `section`, a
    `Section`. The driver itself registers, reads and validates the options that it finds there.
    """

    options: ClassVar[Sequence[cfg.Opt]]

    def check(self) -> None:
        """Return when the backend is usable. Raise `BackendError` or `ConfigurationError` with the remedy."""

    def storage_id(self) -> str | None:
        """Return the identity of the storage: one text on every server that uses it, unique, of at most 255 characters.

        Derive it from data of the storage itself, such as the UUID of a volume group. An object has one owner on a
        storage, on any number of servers. Return None where the driver can't know the identity; then each server owns
        its own objects. Called after `check` has succeeded. Raise `BackendError` if the storage doesn't answer.
        """

    def list_snapshots(self) -> list[BackendSnapshot]:
        """Return every snapshot on the backend, from one scan, in any order.

        Raise `BackendError` if the backend doesn't answer, and never return an empty list instead.
        """

    def list_volumes(self) -> list[BackendVolume]:
        """Return every volume on the backend, from one scan, in any order.

        Return the volumes that `find_volume` finds by their names, with equal values. Mark those that it refuses as
        unsafe, with the same reason. Leave out snapshots, even if `find_volume` accepts one: return a snapshot only if
        it has snapshots of its own. The volume of each listed snapshot is a volume here.

        A driver for an earlier release lacks this method. It works as before; only a list of volumes is refused.

        Raise `BackendError` if the backend doesn't answer, and never return an empty list instead.
        """

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        """Return the snapshot of a reference in its present state.

        `volume` is the backend's name of the volume in the request, if it is known: some references are complete only
        with it. Return an unsafe snapshot, or one of another volume, like any other: the caller refuses it.

        Raise `InvalidReference`, `SourceNotFound`, `NotASnapshot`, `BackendError`.
        """

    def find_volume(self, reference: Reference) -> BackendVolume:
        """Return the volume of a reference. Return an unsafe volume like any other: the caller refuses it.

        Raise `InvalidReference`, `SourceNotFound`, `NotAVolume`, `BackendError`.
        """

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        """Return every object on the backend, of any kind, that has one of the identities or one of the names.

        The caller concludes that every other object is gone. If an object exists but its identity can't be read, return
        its name with the identity "", or raise `BackendError`. Raise `BackendError` if the backend doesn't answer, and
        never return an empty list instead. Find an object by its identity anywhere on the backend.
        """

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        """Return the name that `found` gets when it is managed, made of `name` by the backend's rules.

        `name` is unique to one record (`snapshot_name_template`), and the result must be unique too. For an object that
        can't be renamed, return its present name; then only the record shows that it is managed.
        """

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        """Rename the object to `managed_name` and return it; done twice equals once.

        Look for the finished state first. Never replace another object: raise `NameTaken`. Check the identity right
        before the rename: raise `SourceNotFound` if `original_name` is gone or now belongs to another object, `InUse`
        or `Unusable` if the object can't be renamed safely.
        """

    def unmanage_snapshot(self, binding: Binding) -> None:
        """Rename the object back to `original_name`; done twice equals once.

        Return if the object is gone or has a third name, since an operator has renamed it. Raise `NameTaken` if another
        object has the name, `InUse` if the object can't be renamed now. Restore the name of an object that still has
        `managed_name`, even if the driver no longer counts it as a snapshot; raise `Unusable` if that is impossible.
        """
