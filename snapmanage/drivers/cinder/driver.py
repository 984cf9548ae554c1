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

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import GIB, BackendObject, BackendSnapshot, BackendVolume, Binding, Unsafe, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming
from snapmanage.drivers.cinder import lookup, objects
from snapmanage.drivers.cinder.process import CinderProcess
from snapmanage.drivers.cinder.scan import IDENTITY_KEYS, Scans, Seen, refuse_unseen
from snapmanage.drivers.cinder.vendors import record_id, unfit, vendor_of
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
        size_gb = self._process.call("snapshot_size_gb", volume=seen.parent, reference=_reference(seen))
        return self._scans.described([seen if self._vendor.size_of_volume else replace(seen, size_gb=size_gb)])[0]

    def find_volume(self, reference: Reference) -> BackendVolume:
        _, name = _read(reference, ("source-name",))
        for seen in self._scans.volumes():
            if seen.name == name:
                return BackendVolume(seen.name, seen.identity, seen.size_gb * GIB)
        listed = self._scans.snapshots({})
        refuse_unseen(listed, name)
        if any(_is(seen, "source-name", name) for seen in listed):
            raise errors.NotAVolume(f"{name!r} is a snapshot; name the volume it was taken of")
        raise errors.SourceNotFound(f"the vendor's driver lists no volume {name!r}")

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        records = {self._record_id(name): name for name in names}
        return lookup.located(self._process, self._scans, self._vendor, records, identities)

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        return self._vendor.managed_name(found.parent, name)

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        return renaming.manage(_Renamer(self, binding), binding)

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
        names = _Renamer(self, binding)
        if not self._vendor.renames_to_any_name:
            return names.let_go()
        listed = renaming.unmanage(names, binding)
        if names.renamed and self._vendor.unmanages_too:
            names.release(binding.original_name)
        return listed

    def _record_id(self, managed_name: str) -> str:
        return record_id(self._template, managed_name) or objects.id_of(managed_name)

    def _meant(self, key: str, value: str, volume: str | None) -> Seen:
        """The one snapshot that is listed so; a name that several volumes have means the one of `volume`."""
        everything = self._scans.snapshots({})
        listed = [each for each in everything if _is(each, key, value)]
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
                raise self._no_snapshot(value)
        names = ", ".join(sorted(each.name for each in seen))
        raise errors.InvalidReference(f"{value!r} is the name of several snapshots; name one of {names}")

    def _no_snapshot(self, name: str) -> errors.Invalid:
        if any(seen.name == name for seen in self._scans.volumes()):
            return errors.NotASnapshot(
                f"the vendor's driver lists {name!r} among volumes and not among snapshots; name one of its snapshots"
            )
        return errors.SourceNotFound(f"the vendor's driver lists no snapshot {name!r}")


@dataclass
class _Renamer:
    """The names on a backend as `renaming` asks for them, on behalf of one binding."""

    driver: CinderDriver
    binding: Binding
    seen: dict[str, Seen] = field(default_factory=dict)
    renamed: bool = False

    @property
    def record_id(self) -> str:
        return self.driver._record_id(self.binding.managed_name)

    def look(self, *names: str) -> Mapping[str, BackendSnapshot]:
        listed = self.driver._scans.snapshots({self.record_id: self.binding.managed_name})
        refuse_unseen(listed, *names)
        self.seen = {name: seen for seen in map(self._as_ours, listed) if (name := seen.name) in names}
        self._tell_apart()
        return {found.name: found for found in self.driver._scans.described(list(self.seen.values()))}

    def rename(self, old: str, new: str) -> None:
        self.renamed = True
        try:
            self._ask("manage", self.seen[old], new, reference=_reference(self.seen[old]))
        except errors.SnapmanageError:
            if any(volume.name == new for volume in self.driver._scans.volumes()):
                raise errors.NameTaken(f"a volume is called {new!r} already") from None
            raise

    def let_go(self) -> bool:
        """Unmanage as the vendor's driver does, under whatever name; done twice equals once. Whether it is listed."""
        managed = self.binding.managed_name
        found = self.look(managed).get(managed)
        if found is None or managed == self.binding.original_name:
            return found is not None
        if found.unsafe is Unsafe.IN_USE:
            refuse_unsafe(found)
        self.release(managed)
        return True

    def release(self, name: str) -> None:
        """Let the vendor's driver do what else unmanaging is to it; nothing where somebody else has the name by now."""
        if name in self.seen and self.seen[name].identity == self.binding.identity:
            self._ask("unmanage", self.seen[name], name)

    def _ask(self, operation: str, seen: Seen, name: str, **more: object) -> None:
        with self.driver._scans.held_off():
            self.driver._process.call(
                operation,
                record_id=self.record_id,
                name=self.driver._vendor.handed_name(seen.parent, name),
                volume=seen.parent,
                size_gb=seen.size_gb,
                **more,
            )

    def _as_ours(self, seen: Seen) -> Seen:
        """With a driver that names snapshots in its own way, what it takes for the record's bears the managed name."""
        if self.driver._vendor.renames_to_any_name or seen.record_id != self.record_id:
            return seen
        return replace(seen, name=self.binding.managed_name)

    def _tell_apart(self) -> None:
        """Where names are all the identity there is, what has the record's name is the one that was meant."""
        managed, original = self.binding.managed_name, self.binding.original_name
        if managed == original or managed not in self.seen or self.seen[managed].stable:
            return
        if record_id(self.driver._template, managed):
            self.seen[managed] = replace(self.seen[managed], identity=self.binding.identity)
            if original in self.seen:
                self.seen[original] = replace(self.seen[original], identity=f"another {original}")


def _read(reference: Reference, keys: Sequence[str]) -> tuple[str, str]:
    """Key and value of a reference; nothing of it ever reaches the vendor's driver."""
    key = next((key for key in keys if key in reference.value), keys[0])
    value = reference.name(key)
    if "\0" in value or len(value) > LONGEST_NAME or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise errors.InvalidReference(f"no snapshot or volume can be called {value!r}")
    return key, value


def _is(seen: Seen, key: str, value: str) -> bool:
    if key == "source-name":
        return value in (seen.name, seen.listed_name)
    return seen.reference.get(key) == value


def _reference(seen: Seen) -> dict[str, str]:
    """A reference that any driver takes: listings of some have keys that their own managing refuses."""
    return {"source-name": seen.listed_name, "name": seen.listed_name, **seen.reference}
