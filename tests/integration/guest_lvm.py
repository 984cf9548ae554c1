"""Tests of LVM that need device-mapper; `test_lvm_kernel` runs them inside a guest."""

import fcntl
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.lvm.driver import LvmDriver
from snapmanage.drivers.lvm.names import MAX_NAME_LENGTH, refusal
from tests.contract.labs.lvm import LvmKernelLab, lvm_lab
from tests.services.guests import uml_guest
from tests.services.storage.lvm_operator import lvm

# Three commands must reach the lock within it on a busy machine: one that ends earlier reports no lock.
SHORT_DEADLINE_SECONDS = 6


@pytest.fixture(params=["lvm-thick", "lvm-thin"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LvmKernelLab]:
    with lvm_lab(request.param == "lvm-thin", tmp_path) as made:
        yield cast(LvmKernelLab, made)


thick = pytest.mark.parametrize("lab", ["lvm-thick"], indirect=True)
thin = pytest.mark.parametrize("lab", ["lvm-thin"], indirect=True)


def find(lab: LvmKernelLab, name: str) -> BackendSnapshot:
    return lab.driver.find_snapshot(Reference.named(name))


def bind(lab: LvmKernelLab, name: str) -> Binding:
    snapshot = find(lab, name)
    return Binding(snapshot.identity, name, lab.driver.managed_name(snapshot, f"snapshot-{uuid.uuid4()}"))


def write(lab: LvmKernelLab, name: str, data: bytes) -> None:
    with lab.device(name).open("wb", buffering=0) as device:
        device.write(data)


def read(lab: LvmKernelLab, name: str, length: int) -> bytes:
    with lab.device(name).open("rb") as device:
        return device.read(length)


@contextmanager
def group_locked(lab: LvmKernelLab) -> Iterator[None]:
    """Hold the group's lock, as a long command of lvm2 does."""
    with Path(f"/run/lock/lvm/V_{lab.group}").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_data_of_a_snapshot_survive_manage_and_unmanage(lab: LvmKernelLab) -> None:
    before, after = b"before" * 1000, b"after!" * 1000
    write(lab, lab.volume, before)
    lab.add_snapshot("daily")
    write(lab, lab.volume, after)
    binding = bind(lab, "daily")

    lab.driver.manage_snapshot(binding)
    while_managed = read(lab, binding.managed_name, len(before))
    lab.driver.unmanage_snapshot(binding)

    assert (while_managed, read(lab, "daily", len(before))) == (before, before)
    assert read(lab, lab.volume, len(after)) == after


@thick
def test_overflowed_snapshot_is_listed_as_unusable_and_not_renamed(lab: LvmKernelLab) -> None:
    lab.add_snapshot("daily", store="4m")
    binding = bind(lab, "daily")
    lab.overflow()

    [listed] = lab.driver.list_snapshots()
    with pytest.raises(errors.Unusable, match="overflowed") as caught:
        lab.driver.manage_snapshot(binding)

    assert (listed.unsafe, caught.value.code) == (Unsafe.UNUSABLE, "unusable")
    assert lab.names() == {"daily"}


@thick
def test_managed_snapshot_that_overflowed_can_be_unmanaged(lab: LvmKernelLab) -> None:
    lab.add_snapshot("daily", store="4m")
    binding = bind(lab, "daily")
    lab.driver.manage_snapshot(binding)
    lab.overflow()

    lab.driver.unmanage_snapshot(binding)

    assert lab.names() == {"daily"}


@thick
def test_merging_snapshot_is_unusable(lab: LvmKernelLab) -> None:
    lab.add_snapshot("daily")
    binding = bind(lab, "daily")
    with ExitStack() as stack:
        # Otherwise the merge would continue during the next test.
        stack.callback(lab.remove, lab.volume)
        stack.enter_context(lab.held(lab.volume))
        lvm("lvconvert", "--merge", f"{lab.group}/daily")

        with pytest.raises(errors.Unusable, match="merged"):
            lab.driver.manage_snapshot(binding)
        assert find(lab, "daily").unsafe is Unsafe.UNUSABLE


@thick
def test_rename_to_the_longest_name_does_not_leave_the_volume_suspended(lab: LvmKernelLab) -> None:
    lab.add_snapshot("daily")
    names = ["x" * length for length in range(1, MAX_NAME_LENGTH)]
    longest = [name for name in names if refusal(lab.group, name) is None][-1]

    lab.driver.manage_snapshot(Binding(find(lab, "daily").identity, "daily", longest))

    assert lab.names() == {longest}
    # A write to a suspended volume never ends, nor does a read.
    assert "suspended" not in lvm("lvs", "--noheadings", "-o", "lv_suspended", lab.group)


def test_inactive_snapshot_is_managed(lab: LvmKernelLab) -> None:
    lab.add_snapshot("daily")
    lvm("lvchange", "--yes", "--activate", "n", f"{lab.group}/{lab.volume}")
    binding = bind(lab, "daily")

    lab.driver.manage_snapshot(binding)

    assert lab.names() == {binding.managed_name}


@thin
def test_thin_snapshot_without_its_volume_is_managed_by_name(lab: LvmKernelLab) -> None:
    lab.add_snapshot("daily")
    lvm("lvremove", "--yes", f"{lab.group}/{lab.volume}")
    orphan = find(lab, "daily")
    binding = bind(lab, "daily")

    lab.driver.manage_snapshot(binding)

    assert (orphan.parent, orphan.parent_identity) == (None, None)
    assert lab.names() == {binding.managed_name}
    assert lab.driver.list_snapshots() == []


@thin
def test_snapshot_of_a_volume_that_was_restored_from_a_snapshot_is_managed_on_it(lab: LvmKernelLab) -> None:
    lab.add_snapshot("daily")
    for name, origin, skipped in (("restored", "daily", "n"), ("of-restored", "restored", "y")):
        snapshot = ["lvcreate", "--snapshot", "--setactivationskip", skipped, "--name", name]
        lvm(*snapshot, f"{lab.group}/{origin}")
        # It has no snapshot yet, so it counts as a volume because it is active and writable.
        volume = lab.driver.find_volume(Reference.named("restored"))

    managed = lab.driver.manage_snapshot(bind(lab, "of-restored"))

    assert (managed.parent, managed.parent_identity) == ("restored", volume.identity)
    with pytest.raises(errors.NotAVolume):
        lab.driver.find_volume(Reference.named(managed.name))


@thin
def test_ordinary_thin_volume_is_refused_until_the_operator_marks_it(lab: LvmKernelLab) -> None:
    lvm("lvcreate", "--thinpool", "pool", "--virtualsize", "4m", "--name", "ordinary", lab.group)

    with pytest.raises(errors.NotASnapshot, match="lvchange --setactivationskip y test-group/ordinary"):
        find(lab, "ordinary")
    lvm("lvchange", "--setactivationskip", "y", f"{lab.group}/ordinary")

    assert find(lab, "ordinary").parent is None


@thick
def test_commands_that_wait_for_the_groups_lock_end_at_their_deadline_and_change_nothing(lab: LvmKernelLab) -> None:
    lab.add_snapshot("daily")
    binding = bind(lab, "daily")
    hurried = LvmDriver(lab.group, uml_guest.LVM_SYSTEM_DIR, SHORT_DEADLINE_SECONDS)
    rename = partial(hurried.rename, "daily", "late")
    acts: list[Callable[[], object]] = [hurried.list_snapshots, partial(hurried.manage_snapshot, binding), rename]

    with group_locked(lab), ThreadPoolExecutor(len(acts)) as workers:
        failures = [waiting.exception() for waiting in [workers.submit(act) for act in acts]]

    assert [(type(failure), getattr(failure, "code", "")) for failure in failures] == [
        (errors.BackendBusy, "backend_busy")
    ] * len(acts)
    assert lab.names() == {"daily"}
    assert lab.driver.manage_snapshot(binding).name == binding.managed_name
