"""Vendor drivers that choose the names of managed snapshots themselves."""

import os
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from snapmanage import errors
from snapmanage.core.backend import Unsafe, refuse_unsafe
from snapmanage.testing.waiting import until
from tests.contract.cinder.array import Array, record_of


def test_snapshot_is_found_by_its_record_if_the_vendor_driver_chooses_the_name(array: Array) -> None:
    binding = array.bind()

    first = array.driver.manage_snapshot(binding)
    second = array.driver.manage_snapshot(binding)

    assert first == second
    assert (first.name, first.identity) == (binding.managed_name, binding.identity)
    assert array.names == {f"own-{record_of(binding)}", "weekly"}


def test_vendor_driver_unmanages_only_once(array: Array) -> None:
    binding = array.bind()
    array.driver.manage_snapshot(binding)

    array.driver.unmanage_snapshot(binding)
    array.driver.unmanage_snapshot(binding)

    assert array.names == {f"unmanaged-{record_of(binding)}", "weekly"}


def test_finished_rename_counts_though_the_vendor_driver_failed_afterwards(array: Array) -> None:
    binding = array.bind()
    (array.folder / "fail-after-rename").touch()

    assert array.driver.manage_snapshot(binding).name == binding.managed_name


def test_finished_rename_counts_though_the_vendor_driver_was_killed_afterwards(array: Array) -> None:
    binding, child, hang_after_rename = array.bind(), array.child, array.folder / "hang-after-rename"
    hang_after_rename.touch()

    with ThreadPoolExecutor(1) as worker:
        managing = worker.submit(array.driver.manage_snapshot, binding)
        until(lambda: not hang_after_rename.exists(), "the rename to be done and the vendor driver to hang")
        os.kill(child.pid, signal.SIGKILL)
        managed = managing.result(60)

    assert managed.name == binding.managed_name
    assert array.names == {f"own-{record_of(binding)}", "weekly"}


def test_refusal_of_the_vendor_driver_is_final_and_quoted(array: Array) -> None:
    array.write_snapshots({f"own-{uuid.uuid4()}": "disk-1"})
    [snapshot] = array.driver.list_snapshots()

    with pytest.raises(errors.InvalidReference, match="it is managed"):
        array.find(snapshot.name)


def test_snapshot_that_the_vendor_driver_lists_as_unsafe_is_not_renamed(array: Array) -> None:
    array.write_snapshots({"mapped": "disk-1"})
    binding = array.bind("mapped")

    assert array.find("mapped").unsafe is Unsafe.IN_USE
    with pytest.raises(errors.InUse):
        refuse_unsafe(array.find("mapped"))
    with pytest.raises(errors.InUse):
        array.driver.manage_snapshot(binding)
    assert array.names == {"mapped"}


def test_unreachable_array_is_an_error_and_an_empty_one_is_not(array: Array) -> None:
    array.write_snapshots({})
    assert array.driver.list_snapshots() == []
    array.file.unlink()

    with pytest.raises(errors.BackendUnavailable, match="doesn't answer"):
        array.driver.list_snapshots()
