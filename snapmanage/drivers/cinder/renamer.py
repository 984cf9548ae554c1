"""The names on a backend as `renaming` asks for them, through a vendor's driver."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe, refuse_unsafe
from snapmanage.drivers.cinder.entries import Seen, refuse_unseen
from snapmanage.drivers.cinder.scan import Scans
from snapmanage.drivers.cinder.vendors import Vendor, record_id, record_of


@dataclass
class SnapshotRenamer:
    """The names on a backend as `renaming` asks for them, on behalf of one binding."""

    scans: Scans
    vendor: Vendor
    template: str
    binding: Binding
    seen: dict[str, Seen] = field(default_factory=dict)
    renamed: bool = False

    @property
    def record_id(self) -> str:
        return record_of(self.template, self.binding.managed_name)

    def look(self, *names: str) -> Mapping[str, BackendSnapshot]:
        listed = self.scans.snapshots({self.record_id: self.binding.managed_name})
        refuse_unseen(listed, *names)
        self.seen = {name: seen for seen in map(self._as_ours, listed) if (name := seen.name) in names}
        self._tell_apart()
        return {found.name: found for found in self.scans.described(list(self.seen.values()))}

    def rename(self, old: str, new: str) -> None:
        self.renamed = True
        try:
            self._ask("manage", self.seen[old], new, reference=self.seen[old].vendor_reference)
        except errors.SnapmanageError:
            if any(volume.name == new for volume in self.scans.volumes()):
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
        self.scans.change(
            operation,
            record_id=self.record_id,
            name=self.vendor.handed_name(seen.parent, name),
            volume=seen.parent,
            size_gb=seen.size_gb,
            **more,
        )

    def _as_ours(self, seen: Seen) -> Seen:
        """With a driver that names snapshots in its own way, what it takes for the record's bears the managed name."""
        if self.vendor.renames_to_any_name or seen.record_id != self.record_id:
            return seen
        return replace(seen, name=self.binding.managed_name)

    def _tell_apart(self) -> None:
        """Where names are all the identity there is, what has the record's name is the one that was meant."""
        managed, original = self.binding.managed_name, self.binding.original_name
        if managed == original or managed not in self.seen or self.seen[managed].stable:
            return
        if record_id(self.template, managed):
            self.seen[managed] = replace(self.seen[managed], identity=self.binding.identity)
            if original in self.seen:
                self.seen[original] = replace(self.seen[original], identity=f"another {original}")
