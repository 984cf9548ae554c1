"""Laboratories, the backends for the contract tests: one module for each driver, and lists of their abilities.

To add a laboratory, write a module in this package and add it to `MAKERS`. The laboratory is a `Lab`. If it has one of
the further abilities in `base`, add its name to the list of that ability.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from tests.contract.labs.base import HoldingLab, Lab, LargeLab, OddLab, SpoilingLab
from tests.contract.labs.btrfs import btrfs_lab
from tests.contract.labs.cinder import CinderLvmLab, cinder_rbd_lab
from tests.contract.labs.fake import FakeLab
from tests.contract.labs.file import FileLab
from tests.contract.labs.lvm import in_guest, lvm_lab
from tests.contract.labs.qcow2 import Qcow2Lab
from tests.contract.labs.rbd import rbd_lab
from tests.contract.labs.template import TemplateLab
from tests.contract.labs.zfs import zfs_lab

__all__ = [
    "ACTIVE",
    "HOLDING",
    "LABS",
    "LARGE",
    "MAKERS",
    "ORPHANING",
    "SPOILING",
    "WITH_CREATION_TIME",
    "WITH_STORAGE_ID",
    "HoldingLab",
    "Lab",
    "LargeLab",
    "OddLab",
    "SpoilingLab",
]

# Make a laboratory for one test, with the fixtures and the temporary folder of that test.
Maker = Callable[[pytest.FixtureRequest, Path], AbstractContextManager[Lab]]

MAKERS: dict[str, Maker] = {
    "fake": lambda _, folder: nullcontext(FakeLab()),
    "file": lambda _, folder: nullcontext(FileLab(folder)),
    "qcow2": lambda _, folder: nullcontext(Qcow2Lab(folder)),
    "lvm-thick": lambda _, folder: lvm_lab(False, folder),
    "lvm-thin": lambda _, folder: lvm_lab(True, folder),
    "template": lambda _, folder: nullcontext(TemplateLab(folder)),
    "rbd": lambda request, _: rbd_lab(request),
    "btrfs": lambda _, folder: btrfs_lab(folder),
    "zfs": lambda request, _: zfs_lab(request.getfixturevalue("zfs_fuse")),
    "cinder-lvm": lambda request, _: nullcontext(CinderLvmLab(*request.getfixturevalue("cinder_of_lvm"))),
    "cinder-rbd": lambda request, _: cinder_rbd_lab(*request.getfixturevalue("cinder_of_rbd")),
}

_LVM = ["lvm-thick", "lvm-thin"]

# The guest has LVM only, with abilities that LVM on metadata doesn't have.
LABS = _LVM if in_guest() else list(MAKERS)
# In the guest, thin snapshots are inactive, so device-mapper doesn't know them. LVM on metadata tests their renames.
ACTIVE = ["lvm-thick"] if in_guest() else LABS
HOLDING = _LVM if in_guest() else ["fake", "file", "qcow2", "template", "btrfs"]
SPOILING = ["lvm-thick"] if in_guest() else ["fake", "qcow2", "rbd", "zfs"]
LARGE = [] if in_guest() else ["fake", "file", "qcow2", *_LVM, "template", "rbd", "btrfs", "zfs", "cinder-rbd"]
# Backends where an object, such as its volume, makes another one a snapshot and can be removed. ZFS has no such object.
ORPHANING = [name for name in LABS if name != "zfs"]
# Drivers that can identify their storage. Cinder's vendor drivers can't, and neither can the array of the template.
WITH_STORAGE_ID = [name for name in LABS if not name.startswith("cinder-") and name != "template"]
# Backends that report the creation time of a snapshot; Cinder's drivers don't.
WITH_CREATION_TIME = [name for name in LABS if not name.startswith("cinder-")]
