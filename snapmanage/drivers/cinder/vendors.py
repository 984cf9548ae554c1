"""Vendor drivers of Cinder: their naming of snapshots, their wrong sizes, and drivers that can't be used.

The tests run each driver of `VENDORS`. Any other driver is assumed to rename a snapshot to a name of its own, made of
the record's id, and to unmanage in its own way.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from snapmanage.drivers.cinder import objects


@dataclass(frozen=True)
class Vendor:
    """The behaviour of one vendor driver.

    `renames_to_any_name`: `manage_existing_snapshot` renames to the `name` argument, so that unmanaging can restore
    the original name in the same way.
    `separator`: the text between the volume's name and the snapshot's in a whole name.
    `short_names`: the driver lists names that are unique within the volume only; whole names are made here.
    `reserved_prefix`, `escape_prefix`: the backend reserves names with the first prefix; they get the second in front.
    `uses_volume_size`: the driver reports a wrong size for a snapshot; the size of its volume is right.
    `unmanage_undoes_more`: the driver's `unmanage_snapshot` keeps the name and undoes other effects of managing.
    """

    renames_to_any_name: bool = False
    separator: str = ""
    short_names: bool = False
    reserved_prefix: str = ""
    escape_prefix: str = ""
    uses_volume_size: bool = False
    unmanage_undoes_more: bool = False

    def whole_name(self, volume: str | None, name: str) -> str:
        """Return snapmanage's name for a snapshot that the driver lists as `name`."""
        return f"{volume}{self.separator}{name}" if self.short_names else name

    def name_argument(self, volume: str | None, whole_name: str) -> str:
        """Return the `name` that makes the driver rename the snapshot to `whole_name`."""
        return whole_name.removeprefix(f"{volume}{self.separator}") if self.separator else whole_name

    def managed_name(self, volume: str | None, name: str) -> str:
        """Return the whole name of a managed snapshot; `name` is made of `snapshot_name_template`."""
        if self.reserved_prefix and name.startswith(self.reserved_prefix):
            name = self.escape_prefix + name
        return f"{volume}{self.separator}{name}" if self.separator else name


# By the beginning of the driver's path.
VENDORS: Mapping[str, Vendor] = {
    "cinder.volume.drivers.lvm.": Vendor(
        renames_to_any_name=True, reserved_prefix="snapshot", escape_prefix="_", uses_volume_size=True
    ),
    "cinder.volume.drivers.rbd.": Vendor(
        renames_to_any_name=True, separator="@", short_names=True, unmanage_undoes_more=True
    ),
    "cinder.volume.drivers.pure.": Vendor(renames_to_any_name=True, separator="."),
}
# The source of these drivers shows that they need Cinder's records, or don't return facts that snapmanage needs.
UNSUPPORTED: Mapping[str, str] = {
    "cinder.volume.drivers.datera.": "it identifies snapshots by fields of Cinder's own records",
    "cinder.volume.drivers.dell_emc.powermax.": "it doesn't mark managed snapshots, so none would be found again",
    "cinder.volume.drivers.hpe.": "it refuses snapshots of volumes that Cinder hasn't named",
    "cinder.volume.drivers.infortrend.": "it unmanages only with fields of Cinder's own records",
    "cinder.volume.drivers.nec.": "it lists volumes under other names than the volumes of their snapshots",
    "cinder.volume.drivers.nexenta.": "it lists only objects of Cinder's own database",
    "cinder.volume.drivers.zadara.": "it finds no volume that Cinder hasn't named",
}

_RECORD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def vendor_of(volume_driver: str) -> Vendor:
    return next((vendor for path, vendor in VENDORS.items() if volume_driver.startswith(path)), Vendor())


def unsupported_reason(volume_driver: str) -> str | None:
    """Return why the driver can't be used, as a clause; None where it may be used."""
    return next((reason for path, reason in UNSUPPORTED.items() if volume_driver.startswith(path)), None)


def parse_record_id(template: str, name: str) -> str | None:
    """Return the record's id in a managed name; None for a name that `template` can't have made."""
    before, _, after = template.partition("%s")
    found = re.search(f"{re.escape(before)}({_RECORD.pattern}){re.escape(after)}$", name) if template else None
    return found[1] if found else None


def record_id_of(template: str, managed_name: str) -> str:
    """Return the record's id in a managed name, or an id derived from a name that has none."""
    return parse_record_id(template, managed_name) or objects.id_of(managed_name)
