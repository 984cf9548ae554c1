"""The first process of a User Mode Linux guest: it prepares the machine and runs one command.

`uml.py` starts it and writes the order into the shared folder. This program writes the output and
the exit code into the same folder. It uses only the standard library, since the machine isn't prepared yet.
"""

import ctypes
import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ORDER, OUTPUT, EXIT_CODE = "order.json", "output", "exit-code"
# A separate folder, because lvm2 opens every node of a folder that it scans, and /dev has hundreds.
DISKS = "/dev/disks"
DISK = f"{DISKS}/ubda"
LVM_SYSTEM_DIR = "/run/lvm-system"
MODULES = (
    "drivers/md/dm-mod",
    "drivers/md/dm-bufio",
    "drivers/md/dm-bio-prison",
    "drivers/md/persistent-data/dm-persistent-data",
    "drivers/md/dm-snapshot",
    "drivers/md/dm-thin-pool",
)
# The guest has no udev, so lvm2 makes the device nodes itself. In the guest, touching memory takes most of the time of
# lvm2, so it reserves none, and doesn't look for kinds of devices that the guest can't have.
LVM_CONF = f"""
devices {{
    dir="/dev" scan=["{DISKS}"] types=["ubd",16] use_devicesfile=0
    obtain_device_list_from_udev=0 external_device_info_source="none"
    global_filter=["a|^{DISK}$|","r|.*|"]
    md_component_detection=0 fw_raid_component_detection=0 multipath_component_detection=0
    sysfs_scan=0 data_alignment_detection=0
}}
global {{ locking_dir="/run/lock/lvm" use_lvmpolld=0 event_activation=0 }}
activation {{
    udev_sync=0 udev_rules=0 verify_udev_operations=0 monitoring=0
    reserved_memory=0 reserved_stack=0
}}
backup {{ backup=0 archive=0 }}
"""
ENVIRONMENT = {
    "HOME": "/run",
    "LC_ALL": "C",
    "LVM_SUPPRESS_FD_WARNINGS": "1",
    "LVM_SYSTEM_DIR": LVM_SYSTEM_DIR,
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TMPDIR": "/run/tmp",
}

_FINIT_MODULE = 313
_POWER_OFF = 0x4321FEDC

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Order:
    """The command that the host orders."""

    argv: list[str]
    folder: str
    environment: dict[str, str]


def main(shared: Path) -> None:
    prepare(shared)
    order = Order(**json.loads((shared / ORDER).read_text()))
    with (shared / OUTPUT).open("wb") as output:
        completed = subprocess.run(
            order.argv,
            cwd=order.folder,
            env=ENVIRONMENT | order.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    (shared / EXIT_CODE).write_text(str(completed.returncode))


def prepare(shared: Path) -> None:
    """Prepare the machine: file systems, modules, and a configured lvm2."""
    mount("proc", "/proc", "proc")
    mount("sysfs", "/sys", "sysfs")
    mount("tmpfs", "/run", "tmpfs")
    mount("none", str(shared), "hostfs", str(shared))
    for folder in (DISKS, "/dev/shm", "/run/lock/lvm", "/run/tmp", LVM_SYSTEM_DIR):
        os.makedirs(folder, exist_ok=True)
    mount("tmpfs", "/dev/shm", "tmpfs")
    os.mknod(DISK, stat.S_IFBLK | 0o600, os.stat("/dev/ubda").st_rdev)
    Path(LVM_SYSTEM_DIR, "lvm.conf").write_text(LVM_CONF)
    for module in MODULES:
        load(module)


def mount(source: str, target: str, kind: str, data: str = "") -> None:
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), 0, data.encode()), target)


def load(module: str) -> None:
    path = f"/usr/lib/uml/modules/{os.uname().release}/kernel/{module}.ko"
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    _check(_libc.syscall(_FINIT_MODULE, fd, b"", 0), path)
    os.close(fd)


def power_off() -> None:
    os.sync()
    _libc.reboot(_POWER_OFF)


def _check(outcome: int, what: str) -> None:
    if outcome != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    finally:
        # A first process that merely ends makes the kernel panic.
        power_off()
