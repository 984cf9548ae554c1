"""Laboratories, the backends for the contract tests: one module for each driver.

To add a laboratory, write a module in this package and add it to `MAKERS` and `CLASSES`. The laboratory is a `Lab` of
`snapmanage.testing.lab`. Its class shows which of the further capabilities it has.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from snapmanage_driver_array.lab import ArrayLab

from snapmanage.testing.lab import Lab, has
from tests.contract.labs.btrfs import BtrfsLab, btrfs_lab
from tests.contract.labs.cinder import CinderLvmLab, CinderRbdLab, cinder_rbd_lab
from tests.contract.labs.fake import FakeLab
from tests.contract.labs.file import FileLab
from tests.contract.labs.lvm import LvmKernelLab, LvmMetadataLab, ThickLvmKernelLab, in_guest, lvm_lab
from tests.contract.labs.qcow2 import Qcow2Lab
from tests.contract.labs.rbd import RbdLab, rbd_lab
from tests.contract.labs.zfs import ZfsLab, zfs_lab

# Make a laboratory for one test, with the fixtures and the temporary folder of that test.
Maker = Callable[[pytest.FixtureRequest, Path], AbstractContextManager[Lab]]

MAKERS: dict[str, Maker] = {
    "fake": lambda _, folder: nullcontext(FakeLab()),
    "file": lambda _, folder: nullcontext(FileLab(folder)),
    "qcow2": lambda _, folder: nullcontext(Qcow2Lab(folder)),
    "lvm-thick": lambda _, folder: lvm_lab(False, folder),
    "lvm-thin": lambda _, folder: lvm_lab(True, folder),
    "template": lambda _, folder: nullcontext(ArrayLab(folder)),
    "rbd": lambda request, _: rbd_lab(request),
    "btrfs": lambda _, folder: btrfs_lab(folder),
    "zfs": lambda request, _: zfs_lab(request.getfixturevalue("zfs_fuse")),
    "cinder-lvm": lambda request, _: nullcontext(CinderLvmLab(*request.getfixturevalue("cinder_of_lvm"))),
    "cinder-rbd": lambda request, _: cinder_rbd_lab(*request.getfixturevalue("cinder_of_rbd")),
}

# The guest has LVM only.
CLASSES: dict[str, type[Lab]] = (
    {"lvm-thick": ThickLvmKernelLab, "lvm-thin": LvmKernelLab}
    if in_guest()
    else {
        "fake": FakeLab,
        "file": FileLab,
        "qcow2": Qcow2Lab,
        "lvm-thick": LvmMetadataLab,
        "lvm-thin": LvmMetadataLab,
        "template": ArrayLab,
        "rbd": RbdLab,
        "btrfs": BtrfsLab,
        "zfs": ZfsLab,
        "cinder-lvm": CinderLvmLab,
        "cinder-rbd": CinderRbdLab,
    }
)
# In the guest, thin snapshots are inactive, so device-mapper doesn't know them. LVM on metadata tests their renames.
ACTIVE = frozenset({"lvm-thick"} if in_guest() else CLASSES)


def labs_with(*capabilities: str) -> list[str]:
    """Return the names of the laboratories that have all the capabilities."""
    return [name for name, kind in CLASSES.items() if all(has(kind, each) for each in capabilities)]
