"""Renames of one binding's snapshot through a vendor driver."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe, refuse_unsafe
from snapmanage.drivers.cinder.entries import ListingEntry, refuse_unreadable
from snapmanage.drivers.cinder.scan import Scanner
from snapmanage.drivers.cinder.vendors import Vendor, parse_record_id, record_id_of


@dataclass
class SnapshotRenamer:
    """Finds and renames the snapshot of one binding, as a `renaming.Renamer`; `template` makes managed names."""

    scanner: Scanner
    vendor: Vendor
    template: str
    binding: Binding
    found: dict[str, ListingEntry] = field(default_factory=dict)
    renamed: bool = False

    @property
    def record_id(self) -> str:
        return record_id_of(self.template, self.binding.managed_name)

    def look(self, *names: str) -> Mapping[str, BackendSnapshot]:
        listed = self.scanner.snapshots({self.record_id: self.binding.managed_name})
        refuse_unreadable(listed, *names)
        self.found = {name: entry for entry in map(self._with_managed_name, listed) if (name := entry.name) in names}
        self._assign_identities()
        return {found.name: found for found in self.scanner.describe(list(self.found.values()))}

    def rename(self, old: str, new: str) -> None:
        self.renamed = True
        try:
            self._call("manage", self.found[old], new, reference=self.found[old].vendor_reference)
        except errors.SnapmanageError:
            if any(volume.name == new for volume in self.scanner.volumes()):
                raise errors.NameTaken(f"a volume is named {new!r}; rename it, then retry") from None
            raise

    def unmanage_by_driver(self) -> bool:
        """Let the driver unmanage the snapshot in its own way; repeating the call changes nothing.

        Return whether the driver lists the snapshot under its managed name.
        """
        managed = self.binding.managed_name
        snapshot = self.look(managed).get(managed)
        if snapshot is None or managed == self.binding.original_name:
            return snapshot is not None
        if snapshot.unsafe is Unsafe.IN_USE:
            refuse_unsafe(snapshot)
        self.call_unmanage(managed)
        return True

    def call_unmanage(self, name: str) -> None:
        """Call the driver's `unmanage_snapshot`, unless another object has the name by now."""
        if name in self.found and self.found[name].identity == self.binding.identity:
            self._call("unmanage", self.found[name], name)

    def _call(self, operation: str, entry: ListingEntry, name: str, **more: object) -> None:
        self.scanner.call_between_scans(
            operation,
            record_id=self.record_id,
            name=self.vendor.name_argument(entry.parent, name),
            volume=entry.parent,
            size_gb=entry.size_gb,
            **more,
        )

    def _with_managed_name(self, entry: ListingEntry) -> ListingEntry:
        """Return the record's entry under its managed name, where the driver chose another name."""
        if self.vendor.renames_to_any_name or entry.record_id != self.record_id:
            return entry
        return replace(entry, name=self.binding.managed_name)

    def _assign_identities(self) -> None:
        """Give the binding's identity to the entry with the managed name, where identities are made of names.

        An entry with the original name is then another object.
        """
        managed, original = self.binding.managed_name, self.binding.original_name
        if managed == original or managed not in self.found or self.found[managed].stable:
            return
        if parse_record_id(self.template, managed):
            self.found[managed] = replace(self.found[managed], identity=self.binding.identity)
            if original in self.found:
                self.found[original] = replace(self.found[original], identity=f"another {original}")
