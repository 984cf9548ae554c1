"""A directory of odd images: the listing matches the outcome of managing, and managing breaks no chain."""

import os
import subprocess
import uuid
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, refuse_foreign, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.qcow2.directory import LOCK
from tests.contract.labs.qcow2 import Qcow2Lab
from tests.services.storage import qemu


@pytest.fixture
def lab(tmp_path: Path) -> Qcow2Lab:
    lab = Qcow2Lab(tmp_path)
    lab.add_oddities()
    return lab


def complete_chains(folder: Path) -> dict[tuple[int, int], set[str]]:
    """Return the names that lead to each file whose chain QEMU opens; the key is its device and inode."""
    complete: dict[tuple[int, int], set[str]] = {}
    for name in set(os.listdir(folder)) - {LOCK}:
        path = folder / name
        argv = ["qemu-img", "info", "-U", "--backing-chain", str(path)]
        if path.is_file() and not subprocess.run(argv, capture_output=True, check=False, cwd="/").returncode:
            found = path.stat()
            complete.setdefault((found.st_dev, found.st_ino), set()).add(name)
    return complete


def binding(lab: Qcow2Lab, found: BackendSnapshot) -> Binding:
    return Binding(found.identity, found.name, lab.driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))


def names_and_identities(listed: list[BackendSnapshot]) -> set[tuple[str, str]]:
    return {(each.name, each.identity) for each in listed}


def test_every_snapshot_listed_as_safe_is_managed_and_unmanaged_and_every_chain_stays_complete(
    lab: Qcow2Lab,
) -> None:
    before = complete_chains(lab.folder)
    listed = lab.driver.list_snapshots()
    safe = [each for each in listed if not each.unsafe]
    bindings = [binding(lab, each) for each in safe]

    for each, bound in zip(safe, bindings, strict=True):
        volume = lab.driver.find_volume(Reference.named(each.parent or lab.volume))
        found = lab.driver.find_snapshot(Reference.named(each.name), volume.name)
        refuse_foreign(found, volume.name, volume.identity)
        refuse_unsafe(found)
        assert lab.driver.manage_snapshot(bound).identity == each.identity
    during = complete_chains(lab.folder)
    for bound in reversed(bindings):
        lab.driver.unmanage_snapshot(bound)

    assert len(safe) > 10
    assert during.keys() == before.keys()
    assert complete_chains(lab.folder) == before
    assert names_and_identities(lab.driver.list_snapshots()) == names_and_identities(listed)


def test_every_snapshot_listed_as_unsafe_is_refused_with_the_same_reason(lab: Qcow2Lab) -> None:
    unsafe = [each for each in lab.driver.list_snapshots() if each.unsafe]

    for each in unsafe:
        assert lab.driver.find_snapshot(Reference.named(each.name)) == each
        with pytest.raises(errors.Unusable) as refusal:
            lab.driver.manage_snapshot(Binding(each.identity, each.name, f"snapshot-{uuid.uuid4()}"))
        assert each.unsafe_reason in str(refusal.value)
    assert len(unsafe) > 20


def test_odd_images_block_no_other_snapshot_from_being_managed(lab: Qcow2Lab) -> None:
    lab.add_snapshot("daily.qcow2")

    lab.driver.manage_snapshot(binding(lab, lab.driver.find_snapshot(Reference.named("daily.qcow2"))))

    assert len(qemu.chain(lab.folder / lab.volume)) == 3
