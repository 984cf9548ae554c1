"""A real volume group on a loop device, metadata only: lvm2 works on it without device-mapper.

Commands list, rename and remove. Making or opening a snapshot would need a kernel, so the tests write snapshots into
the group's metadata, in the form of lvm2 itself. Needs the Debian package `lvm2`, and root.
"""

import os
import re
import subprocess
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

EXTENT_BYTES = 4 * 1024**2
POOL = "pool"
VISIBLE = '"READ", "WRITE", "VISIBLE"'
HIDDEN = '"READ", "WRITE"'
BORN = 1_700_000_000

_DEVICE_BYTES = 256 * 1024**3
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_LVM_CONF = """
devices {{
    dir="/dev" scan=["/dev"] use_devicesfile=0 global_filter=[{accepted} "r|.*|"]
    obtain_device_list_from_udev=0 external_device_info_source="none"
}}
global {{ activation=0 locking_dir="{locks}" use_lvmpolld=0 event_activation=0 use_aio=0 }}
activation {{ udev_sync=0 udev_rules=0 monitoring=0 }}
backup {{ backup=0 archive=0 }}
"""


@dataclass
class MetadataGroup:
    """A volume group; each method adds logical volumes in one change of its metadata."""

    name: str
    system_dir: Path
    devices: list[str]
    extents: int = 0
    thin_devices: int = 0
    thick_snapshots: int = 0

    def lvm(self, *argv: str) -> str:
        """Run a command of lvm2 and return its output; if it fails, the test fails with its messages."""
        environment = {"PATH": _PATH, "LC_ALL": "C", "LVM_SYSTEM_DIR": str(self.system_dir)}
        completed = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert completed.returncode == 0, f"{argv} ended with {completed.returncode}: {completed.stderr}"
        return completed.stdout

    def configure(self, text: str = "") -> None:
        """Write the host's lvm.conf: the settings that the group needs, with `devices`, and then `text`."""
        accepted = "".join(f'"a|^{device}$|", ' for device in self.devices)
        needed = _LVM_CONF.format(accepted=accepted, locks=self.system_dir / "locks")
        (self.system_dir / "lvm.conf").write_text(f"{needed}\n{text}")

    @contextmanager
    def second_device(self) -> Iterator[str]:
        """Extend the group by one more, empty device."""
        with loop_device(self.system_dir / "second-device") as device:
            self.devices.append(device)
            self.configure()
            self.lvm("pvcreate", "--metadatasize", "64m", device)
            self.lvm("vgextend", self.name, device)
            yield device

    def names(self) -> set[str]:
        """Return every visible logical volume."""
        return set(self.lvm("lvs", "--noheadings", "-o", "lv_name", self.name).split())

    def lock_file(self) -> Path:
        """Return the file that lvm2 locks with `flock` while it works on the group."""
        return self.system_dir / "locks" / f"V_{self.name}"

    def add_volumes(self, *names: str, extents: int = 2) -> None:
        self.add(self.section(name, extents, self.linear(extents)) for name in names)

    def add_thick_snapshots(self, origin: str, *names: str, extents: int = 2) -> None:
        """Add snapshots of a volume with this number of extents; each snapshot has room for one extent."""
        self.add(part for name in names for part in self.thick_snapshot(origin, name, extents))

    def add_pool(self) -> None:
        """Add the thin pool `pool`; thin volumes need it."""
        pool = 'type = "thin-pool" metadata = "pool_tmeta" pool = "pool_tdata" transaction_id = 1000000'
        settings = 'chunk_size = 128 discards = "passdown" zero_new_blocks = 1'
        self.add(
            [
                self.section(POOL, 16, f"{pool}\n{settings}"),
                self.section("lvol0_pmspare", 1, self.linear(1), status=HIDDEN),
                self.section("pool_tmeta", 1, self.linear(1), status=HIDDEN),
                self.section("pool_tdata", 16, self.linear(16), status=HIDDEN),
            ]
        )

    def add_thin_volumes(self, *names: str) -> None:
        self.add(self.section(name, 8, self.thin()) for name in names)

    def add_thin_snapshots(self, origin: str, *names: str, extents: int = 8) -> None:
        segment = f'origin = "{origin}"'
        self.add(self.section(name, extents, f"{self.thin()}\n{segment}", flags='"ACTIVATION_SKIP"') for name in names)

    def remove_thin(self, name: str) -> None:
        """Remove a thin volume or snapshot; its own snapshots lose their origin.

        `lvremove` would need a kernel, to inform the pool.
        """
        section = re.compile(rf"^\t\t{re.escape(name)} {{\n.*?^\t\t}}\n", re.DOTALL | re.MULTILINE)
        origin = re.compile(rf'^\s*origin = "{re.escape(name)}"\n', re.MULTILINE)
        self.rewrite(lambda metadata: origin.sub("", section.sub("", metadata)))

    def clear(self) -> None:
        """Remove everything."""
        everything = re.compile(r"^\tlogical_volumes {\n.*?^\t}\n", re.DOTALL | re.MULTILINE)
        self.rewrite(lambda metadata: everything.sub("", metadata))
        self.extents = self.thin_devices = 0

    def thick_snapshot(self, origin: str, name: str, extents: int) -> Iterator[str]:
        number, self.thick_snapshots = self.thick_snapshots, self.thick_snapshots + 1
        yield self.section(name, 1, self.linear(1), status=HIDDEN)
        segment = f'type = "snapshot" chunk_size = 8 origin = "{origin}" cow_store = "{name}"'
        yield self.section(f"snapshot{number}", extents, segment)

    def linear(self, extents: int) -> str:
        first, self.extents = self.extents, self.extents + extents
        return f'type = "striped" stripe_count = 1 stripes = ["pv0", {first}]'

    def thin(self) -> str:
        self.thin_devices += 1
        return f'type = "thin" thin_pool = "{POOL}" transaction_id = 0 device_id = {self.thin_devices}'

    def section(self, name: str, extents: int, segment: str, status: str = VISIBLE, flags: str = "") -> str:
        return (
            f'{name} {{ id = "{_uuid()}" status = [{status}] flags = [{flags}]\n'
            f'creation_time = {BORN} creation_host = "test" segment_count = 1\n'
            f"segment1 {{ start_extent = 0 extent_count = {extents} {segment} }} }}\n"
        )

    def add(self, sections: Iterable[str]) -> None:
        self.rewrite(lambda metadata: _inserted(metadata, "".join(sections)))

    def rewrite(self, change: Callable[[str], str]) -> None:
        backup = self.system_dir / "metadata"
        self.lvm("vgcfgbackup", "--file", str(backup), self.name)
        backup.write_text(change(backup.read_text()))
        self.lvm("vgcfgrestore", "--force", "--file", str(backup), self.name)


def _uuid() -> str:
    text = uuid.uuid4().hex
    return "-".join([text[:6], *(text[start : start + 4] for start in range(6, 26, 4)), text[26:]])


def _inserted(metadata: str, sections: str) -> str:
    before, opening, after = metadata.partition("logical_volumes {\n")
    if opening:
        return f"{before}{opening}{sections}{after}"
    end = metadata.rindex("}")
    return f"{metadata[:end]}logical_volumes {{\n{sections}}}\n{metadata[end:]}"


@contextmanager
def metadata_group(folder: Path, name: str = "test-group") -> Iterator[MetadataGroup]:
    """Make an empty volume group on a loop device over a sparse file in `folder`; remove all afterwards."""
    with loop_device(folder / "device") as device:
        (folder / "locks").mkdir()
        group = MetadataGroup(name, folder, [device])
        group.configure()
        group.lvm("pvcreate", "--metadatasize", "64m", device)
        group.lvm("vgcreate", "--physicalextentsize", f"{EXTENT_BYTES}b", name, device)
        yield group


@contextmanager
def loop_device(path: Path) -> Iterator[str]:
    """Make a block device over the file, which is created if missing; remove both afterwards."""
    with path.open("ab") as file:
        file.truncate(_DEVICE_BYTES)
    losetup = ["losetup", "--find", "--show", str(path)]
    device = subprocess.run(losetup, capture_output=True, text=True, check=True, env={"PATH": _PATH}).stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True, env={"PATH": _PATH})
        os.unlink(path)
