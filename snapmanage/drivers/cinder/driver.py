"""Any array that has a driver in OpenStack Cinder, through that driver: none of Cinder's services is needed.

The vendor's driver lists and renames; it runs in a process of its own (`process`), with a Cinder
that nobody else sees. What it lacks is added here: it is asked to rename only what it listed a moment
ago as a snapshot that is safe to manage; the finished state is looked for first; what comes of a rename is seen
by listing again; a listing that is empty is believed only when the driver's own check of the backend passes.

**Identity.** A stable id where the listing or `identities` tells one. Otherwise the name alone: a
snapshot that is removed and made again under its name while it is being managed is then taken for the
old one, and so is what takes the old name between the last look and the rename. What bears the name of
a record's is that record's, and is refused to others.

**Giving back.** Drivers that rename to any name (`vendors`) are asked to manage the snapshot once
more, under its old name, and then, where that is something else, to unmanage it. A process that is killed
between the two leaves a snapshot of Ceph protected. Other drivers unmanage in their own way: the snapshot gets the
name that the vendor chose, or keeps the managed one.

**Late renames.** Vendors' drivers rename by name only, so what `snapmanage.drivers.renaming` says of
them holds here, with identities as far as there are any.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import GIB, BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming
from snapmanage.drivers.cinder.entries import IDENTITY_KEYS, Seen, refuse_unseen
from snapmanage.drivers.cinder.process import CinderProcess
from snapmanage.drivers.cinder.renamer import SnapshotRenamer
from snapmanage.drivers.cinder.scan import Scans
from snapmanage.drivers.cinder.vendors import record_id, record_of, unfit, vendor_of
from snapmanage.drivers.protocol import Section

LONGEST_NAME = 16384


class CinderDriver:
    """Snapshots that a vendor's driver lists; see the module for what is added to it and what remains possible."""

    takes_section = True
    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt(
            "volume_driver",
            help="The vendor's driver, such as cinder.volume.drivers.pure.PureISCSIDriver, required. Its own options "
            "stand in the same section, as they would in cinder.conf.",
        ),
        cfg.StrOpt(
            "cinder_python",
            default="",
            help="The Python interpreter that has Cinder 29 or later and what the vendor's driver needs. Empty means "
            "snapmanage's own, with snapmanage[cinder] installed.",
        ),
        cfg.FloatOpt(
            "cinder_timeout_seconds",
            default=300,
            min=1,
            help="How long one call to the vendor's driver may take; then its process is ended, and what was under "
            "way is tried again. Raise it where listing takes longer; lower it to learn of a hanging array sooner.",
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
        self._process = CinderProcess(cinder_python, self._volume_driver, section, cinder_timeout_seconds)
        self._scans = Scans(self._process, self._vendor)

    def close(self) -> None:
        """End the vendor's driver; the next call starts it again."""
        self._process.close()

    def check(self) -> None:
        if not self._volume_driver:
            raise errors.ConfigurationError("the cinder driver needs the option volume_driver: name the vendor's class")
        if reason := unfit(self._volume_driver):
            raise errors.ConfigurationError(f"volume_driver {self._volume_driver} can't be used: {reason}")
        self._process.call("check")

    def storage_id(self) -> str | None:
        # No driver of Cinder says which array it is.
        return None

    def list_snapshots(self) -> list[BackendSnapshot]:
        return self._scans.described(self._scans.snapshots({}))

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        key, value = _read(reference, ("source-name", *IDENTITY_KEYS))
        seen = self._meant(key, value, volume)
        if not seen.stable and record_id(self._template, seen.name):
            raise errors.AlreadyManaged(f"{value!r} bears the name of a managed snapshot; rename it if it is none")
        if seen.unsafe:
            return self._scans.described([seen])[0]
        # The vendor's own checks are made where it is asked for the size.
        size_gb = self._process.call("snapshot_size_gb", volume=seen.parent, reference=seen.vendor_reference)
        return self._scans.described([seen if self._vendor.size_of_volume else replace(seen, size_gb=size_gb)])[0]

    def find_volume(self, reference: Reference) -> BackendVolume:
        _, name = _read(reference, ("source-name",))
        for seen in self._scans.volumes():
            if seen.name == name:
                return BackendVolume(seen.name, seen.identity, seen.size_gb * GIB)
        listed = self._scans.snapshots({})
        refuse_unseen(listed, name)
        if any(seen.matches("source-name", name) for seen in listed):
            raise errors.NotAVolume(f"{name!r} is a snapshot; name the volume it was taken of")
        raise errors.SourceNotFound(f"the vendor's driver lists no volume {name!r}")

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        records = {record_of(self._template, name): name for name in names}
        return self._scans.located(records, identities)

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        return self._vendor.managed_name(found.parent, name)

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        return renaming.manage(self._renamer(binding), binding)

    def unmanage_snapshot(self, binding: Binding) -> None:
        if self._give_back(binding):
            return
        # Its volume may have been renamed, or it may be no snapshot to the vendor's driver any more.
        located = self.locate({binding.identity}, {binding.managed_name})
        separator = self._vendor.within_volume
        if separator and (moved := renaming.relocated(binding, located, separator)):
            self._give_back(moved)
        elif any(each.name == binding.managed_name and each.identity in ("", binding.identity) for each in located):
            raise errors.Unusable(
                f"{binding.managed_name!r} is there, but the vendor's driver doesn't list it as a snapshot any more: "
                f"rename it to {binding.original_name!r}, then unmanage it again"
            )

    def _give_back(self, binding: Binding) -> bool:
        """Return whether the vendor's driver lists the object under one of its names."""
        names = self._renamer(binding)
        if not self._vendor.renames_to_any_name:
            return names.let_go()
        listed = renaming.unmanage(names, binding)
        if names.renamed and self._vendor.unmanages_too:
            names.release(binding.original_name)
        return listed

    def _renamer(self, binding: Binding) -> SnapshotRenamer:
        return SnapshotRenamer(self._scans, self._vendor, self._template, binding)

    def _meant(self, key: str, value: str, volume: str | None) -> Seen:
        """The one snapshot that is listed so; a name that several volumes have means the one of `volume`."""
        everything = self._scans.snapshots({})
        listed = [each for each in everything if each.matches(key, value)]
        seen = (
            [each for each in listed if volume and volume == each.parent]
            or [each for each in listed if each.name == value]
            or listed[: 1 if volume else None]
        )
        match seen:
            case [one]:
                return one
            case []:
                refuse_unseen(everything, value, volume)
                if any(seen.name == value for seen in self._scans.volumes()):
                    raise errors.NotASnapshot(
                        f"the vendor's driver lists {value!r} among volumes and not among snapshots; name one of its "
                        "snapshots"
                    )
                raise errors.SourceNotFound(f"the vendor's driver lists no snapshot {value!r}")
        names = ", ".join(sorted(each.name for each in seen))
        raise errors.InvalidReference(f"{value!r} is the name of several snapshots; name one of {names}")


def _read(reference: Reference, keys: Sequence[str]) -> tuple[str, str]:
    """Key and value of a reference; nothing of it ever reaches the vendor's driver."""
    key = next((key for key in keys if key in reference.value), keys[0])
    value = reference.name(key)
    if "\0" in value or len(value) > LONGEST_NAME or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise errors.InvalidReference(f"no snapshot or volume can be called {value!r}")
    return key, value
