"""Any array with a vendor driver in OpenStack Cinder, through that driver; no service of Cinder is needed.

The vendor driver lists and renames. It runs in a process of its own (`process`), with a Cinder that only this process
sees. snapmanage adds the guarantees that a vendor driver lacks: it renames only an object that was just listed as a
snapshot that is safe to manage; it looks for the finished state first; it lists again to see the result of a rename;
and it trusts an empty listing only if the vendor driver's own check of the backend passes.

**Names.** `source-name` is the vendor driver's name of a snapshot; `vendors` has the form of managed names.

**Identity.** A stable id, if the listing or `identities` has one. Otherwise the identity is the name alone. If such a
snapshot is removed and another is created under its name while a request is in progress, the new one is taken for the
old one; so is an object that gets the old name between the last look and the rename. An object with the managed name
of a record belongs to that record, and is refused to other requests.

**Sizes** are those of the vendor driver, in GiB; `vendors` marks drivers whose sizes of snapshots are wrong.

**Refusals** are those of the vendor driver, with its reasons, and those that `ceph` adds. A reason of the vendor driver
against managing a volume doesn't count, since snapmanage never renames one; lists show it as extra information.

**In use.** A snapshot is in use if the vendor driver's reason against managing it has words such as `in use` or `busy`.

**Renames.** Unmanaging depends on the vendor driver. A driver that renames to any name (`vendors`) manages the
snapshot once more, under its original name; if its `unmanage_snapshot` undoes more than the name, that is called too.
A process that is killed between these two calls leaves a snapshot of Ceph protected. Every other driver unmanages in
its own way: the snapshot gets a name that the vendor chose, or keeps the managed one.

**Late renames.** Vendor drivers rename by name only. The rules of `snapmanage.drivers.renaming` hold, with identities
as stable as described above.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming
from snapmanage.drivers.cinder.entries import IDENTITY_KEYS, ListingEntry, refuse_unreadable
from snapmanage.drivers.cinder.process import CinderProcess
from snapmanage.drivers.cinder.renamer import SnapshotRenamer
from snapmanage.drivers.cinder.scan import Scanner
from snapmanage.drivers.cinder.vendors import parse_record_id, record_id_of, unsupported_reason, vendor_of
from snapmanage.drivers.protocol import Section
from snapmanage.drivers.relocation import relocated

MAX_NAME_LENGTH = 16384


class CinderDriver:
    """Snapshots that a vendor driver lists; the module's docstring has the added guarantees and the remaining risks."""

    takes_section = True
    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt(
            "volume_driver",
            help="The class of the vendor driver, such as cinder.volume.drivers.pure.PureISCSIDriver; required. Its "
            "own options belong in the same section, as in cinder.conf.",
        ),
        cfg.StrOpt(
            "cinder_python",
            default="",
            help="The Python interpreter that has Cinder 29 or later and the libraries of the vendor driver. If empty, "
            "snapmanage's own interpreter is used, and needs snapmanage[cinder].",
        ),
        cfg.FloatOpt(
            "cinder_timeout_seconds",
            default=300,
            min=1,
            help="Time limit for one call to the vendor driver. At the limit its process is killed, and the unfinished "
            "operations are retried. Raise it where a listing takes longer; lower it to detect a hanging array sooner.",
        ),
    ]

    def __init__(
        self,
        volume_driver: str | None = None,
        cinder_python: str = "",
        cinder_timeout_seconds: float = 300,
        section: Section = Section("cinder"),  # noqa: B008 - frozen
    ) -> None:
        self._volume_driver = volume_driver or ""
        self._template = section.snapshot_name_template
        self._vendor = vendor_of(self._volume_driver)
        self.process = CinderProcess(cinder_python, self._volume_driver, section, cinder_timeout_seconds)
        self._scanner = Scanner(self.process, self._vendor)

    def close(self) -> None:
        """End the vendor driver's process; the next call starts it again."""
        self.process.close()

    def check(self) -> None:
        if not self._volume_driver:
            raise errors.ConfigurationError("the option volume_driver is missing: set it to the vendor driver's class")
        if reason := unsupported_reason(self._volume_driver):
            raise errors.ConfigurationError(
                f"volume_driver {self._volume_driver} isn't supported: {reason}; choose another driver"
            )
        self.process.call("check")

    def storage_id(self) -> str | None:
        # A vendor driver doesn't identify its array.
        return None

    def list_snapshots(self) -> list[BackendSnapshot]:
        return self._scanner.describe(self._scanner.snapshots({}))

    def list_volumes(self) -> list[BackendVolume]:
        return [each.as_volume() for each in self._scanner.volumes()]

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        key, value = _parse_reference(reference, ("source-name", *IDENTITY_KEYS))
        entry = self._find_entry(key, value, volume)
        if not entry.stable and parse_record_id(self._template, entry.name):
            raise errors.AlreadyManaged(
                f"{value!r} has the name of a managed snapshot; if it isn't managed, rename it first"
            )
        if entry.unsafe:
            return self._scanner.describe([entry])[0]
        # The vendor driver's own checks are part of this call.
        size_gb = self.process.call("snapshot_size_gb", volume=entry.parent, reference=entry.vendor_reference)
        return self._scanner.describe([entry if self._vendor.uses_volume_size else replace(entry, size_gb=size_gb)])[0]

    def find_volume(self, reference: Reference) -> BackendVolume:
        _, name = _parse_reference(reference, ("source-name",))
        for volume in self.list_volumes():
            if volume.name == name:
                refuse_unsafe(volume)
                return volume
        listed = self._scanner.snapshots({})
        refuse_unreadable(listed, name)
        if any(entry.matches("source-name", name) for entry in listed):
            raise errors.NotAVolume(f"{name!r} is a snapshot; name the volume that it belongs to")
        raise errors.SourceNotFound(f"the vendor driver lists no volume {name!r}; check its name")

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        records = {record_id_of(self._template, name): name for name in names}
        return self._scanner.locate(records, identities)

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        return self._vendor.managed_name(found.parent, name)

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        return renaming.manage(self._renamer(binding), binding)

    def unmanage_snapshot(self, binding: Binding) -> None:
        if self._unmanage_listed(binding):
            return
        # Perhaps the volume was renamed, or the vendor driver no longer lists the object as a snapshot.
        located = self.locate({binding.identity}, {binding.managed_name})
        separator = self._vendor.separator
        if separator and (moved := relocated(binding, located, separator)):
            self._unmanage_listed(moved)
        elif any(each.name == binding.managed_name and each.identity in ("", binding.identity) for each in located):
            raise errors.Unusable(
                f"{binding.managed_name!r} exists, but the vendor driver doesn't list it as a snapshot any more: "
                f"rename it to {binding.original_name!r}, then unmanage it again"
            )

    def _unmanage_listed(self, binding: Binding) -> bool:
        """Unmanage a snapshot that the vendor driver lists; return whether it lists one of the two names."""
        renamer = self._renamer(binding)
        if not self._vendor.renames_to_any_name:
            return renamer.unmanage_by_driver()
        listed = renaming.unmanage(renamer, binding)
        if renamer.renamed and self._vendor.unmanage_undoes_more:
            renamer.call_unmanage(binding.original_name)
        return listed

    def _renamer(self, binding: Binding) -> SnapshotRenamer:
        return SnapshotRenamer(self._scanner, self._vendor, self._template, binding)

    def _find_entry(self, key: str, value: str, volume: str | None) -> ListingEntry:
        """Return the one snapshot that the reference names; of several with one name, the one of `volume`."""
        listed = self._scanner.snapshots({})
        matching = [each for each in listed if each.matches(key, value)]
        candidates = (
            [each for each in matching if volume and volume == each.parent]
            or [each for each in matching if each.name == value]
            or matching[: 1 if volume else None]
        )
        match candidates:
            case [one]:
                return one
            case []:
                refuse_unreadable(listed, value, volume)
                if any(each.name == value for each in self._scanner.volumes()):
                    raise errors.NotASnapshot(
                        f"the vendor driver lists {value!r} as a volume, not as a snapshot; name one of its snapshots"
                    )
                raise errors.SourceNotFound(f"the vendor driver lists no snapshot {value!r}; check its name")
        names = ", ".join(sorted(each.name for each in candidates))
        raise errors.InvalidReference(f"{value!r} is the name of several snapshots; name one of {names}")


def _parse_reference(reference: Reference, keys: Sequence[str]) -> tuple[str, str]:
    """Return the key and the value of a reference; the value is compared with listings, and never sent to the array."""
    key = next((key for key in keys if key in reference.value), keys[0])
    value = reference.name(key)
    if "\0" in value or len(value) > MAX_NAME_LENGTH or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise errors.InvalidReference(
            f"{key} {value!r} can't be a name: use at most {MAX_NAME_LENGTH} characters of valid Unicode, without NUL"
        )
    return key, value
