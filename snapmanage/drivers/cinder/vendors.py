"""What vendors' drivers of Cinder do that they can't be asked: how they name snapshots, and what they tell wrong.

Each driver listed here is run by the tests. One that isn't is taken to rename to a name of its own, made
of the record's id, and to unmanage in its own way.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from snapmanage.drivers.cinder import objects


@dataclass(frozen=True)
class Vendor:
    """How a driver names snapshots.

    `renames_to_any_name`: `manage_existing_snapshot` renames to the `name` that it is handed, so that the
    old name can be given back in the same way. `within_volume`: what joins the volume's name and the
    snapshot's; `ours` says that the join is made here, since a name is unique within its volume only.
    `avoid` is put before names that the backend reserves. `size_of_volume`: the size that it tells isn't
    the data's; its volume's is. `unmanages_too`: its `unmanage_snapshot` undoes more than the name, and
    leaves the name alone.
    """

    renames_to_any_name: bool = False
    within_volume: str = ""
    ours: bool = False
    avoid: tuple[str, str] | None = None
    size_of_volume: bool = False
    unmanages_too: bool = False

    def whole_name(self, volume: str | None, name: str) -> str:
        """What snapmanage calls a snapshot that the driver lists as `name`."""
        return f"{volume}{self.within_volume}{name}" if self.ours else name

    def listed_name(self, whole: str) -> str:
        """What the driver calls it."""
        return whole.partition(self.within_volume)[2] if self.ours else whole

    def handed_name(self, volume: str | None, whole: str) -> str:
        """The `name` to hand to the driver, so that the snapshot gets the whole name."""
        return whole.removeprefix(f"{volume}{self.within_volume}") if self.within_volume else whole

    def managed_name(self, volume: str | None, name: str) -> str:
        """The whole name that a managed snapshot gets; `name` is its record's."""
        if self.avoid and name.startswith(self.avoid[0]):
            name = self.avoid[1] + name
        return f"{volume}{self.within_volume}{name}" if self.within_volume else name


# By the beginning of the driver's path.
VENDORS: Mapping[str, Vendor] = {
    "cinder.volume.drivers.lvm.": Vendor(True, avoid=("snapshot", "_"), size_of_volume=True),
    "cinder.volume.drivers.rbd.": Vendor(True, within_volume="@", ours=True, unmanages_too=True),
    "cinder.volume.drivers.pure.": Vendor(True, within_volume="."),
}
# Read, and found not to work without Cinder's records, or without an answer that the adapter needs.
UNFIT: Mapping[str, str] = {
    "cinder.volume.drivers.datera.": "it knows snapshots by what Cinder keeps of them in its records",
    "cinder.volume.drivers.dell_emc.powermax.": "it doesn't tell which snapshots are managed, so none would be found",
    "cinder.volume.drivers.hpe.": "it refuses snapshots of volumes that Cinder hasn't named",
    "cinder.volume.drivers.infortrend.": "it gives back only with what Cinder keeps in its records",
    "cinder.volume.drivers.nec.": "it lists volumes under other names than their snapshots' volumes",
    "cinder.volume.drivers.nexenta.": "it lists nothing but what Cinder's own database knows",
    "cinder.volume.drivers.zadara.": "it finds no volume that Cinder hasn't named",
}

_RECORD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def vendor_of(volume_driver: str) -> Vendor:
    return next((vendor for path, vendor in VENDORS.items() if volume_driver.startswith(path)), Vendor())


def unfit(volume_driver: str) -> str | None:
    """Why a driver can't be used, as a clause."""
    return next((reason for path, reason in UNFIT.items() if volume_driver.startswith(path)), None)


def record_id(template: str, name: str) -> str | None:
    """The id of the record that a managed name was made for; None for a name of any other form."""
    before, _, after = template.partition("%s")
    found = re.search(f"{re.escape(before)}({_RECORD.pattern}){re.escape(after)}$", name) if template else None
    return found[1] if found else None


def record_of(template: str, managed_name: str) -> str:
    """The id of the record that a managed name is for; made up of the name where none is in it."""
    return record_id(template, managed_name) or objects.id_of(managed_name)
