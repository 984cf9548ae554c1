"""Backends for the contract tests: a module a driver, and here which there are and what each can do.

A new driver's laboratory is a module beside the others and a line in `MAKERS`. It is a `Lab`; where it
can do more (`base` says what), its name stands in that list too.
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
    "BORN",
    "HOLDING",
    "LABS",
    "LARGE",
    "MAKERS",
    "ORPHANING",
    "SPOILING",
    "WITH_STORAGE_ID",
    "HoldingLab",
    "Lab",
    "LargeLab",
    "OddLab",
    "SpoilingLab",
]

# A laboratory is made for one test, with that test's fixtures and its scratch folder.
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

# In the guest there is LVM alone, and it can do there what it can't on metadata.
LABS = _LVM if in_guest() else list(MAKERS)
# In the guest, thin snapshots are inactive and device-mapper has no names for them; metadata shows their renames too.
ACTIVE = ["lvm-thick"] if in_guest() else LABS
HOLDING = _LVM if in_guest() else ["fake", "file", "qcow2", "template", "btrfs"]
SPOILING = ["lvm-thick"] if in_guest() else ["fake", "qcow2", "rbd", "zfs"]
LARGE = [] if in_guest() else ["fake", "file", "qcow2", *_LVM, "template", "rbd", "btrfs", "zfs", "cinder-rbd"]
# Where something beside a snapshot makes it one, which can be taken away. The snapshots of ZFS are such by themselves.
ORPHANING = [name for name in LABS if name != "zfs"]
# Whose driver can say which storage it serves; vendors' drivers of Cinder don't, nor does the template's array.
WITH_STORAGE_ID = [name for name in LABS if not name.startswith("cinder-") and name != "template"]
# Whose backend tells when a snapshot was made; Cinder's drivers don't.
BORN = [name for name in LABS if not name.startswith("cinder-")]
