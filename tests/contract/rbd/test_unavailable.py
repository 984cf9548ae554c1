"""A cluster that refuses access or hangs: errors, deadlines, and the next attempt."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding
from snapmanage.drivers.batch import NotTried
from snapmanage.drivers.rbd import raw
from snapmanage.drivers.rbd.driver import RbdDriver
from snapmanage.testing.services.storage.ceph import mon_command
from tests.contract.labs.rbd import RbdLab
from tests.contract.rbd.helpers import DAILY, MANAGED, bind

LONGEST_WAIT_SECONDS = 60


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_read_only_user_lists_but_does_not_manage(lab: RbdLab) -> None:
    driver = lab.driver_as("reader")
    driver.check()
    [listed] = driver.list_snapshots()

    for act in (driver.manage_snapshot, driver.unmanage_snapshot):
        with pytest.raises(errors.BackendPermission, match="profile rbd") as caught:
            act(Binding(listed.identity, *((DAILY, MANAGED) if act == driver.manage_snapshot else (MANAGED, DAILY))))
        assert caught.value.code == "backend_permission"
    assert lab.names() == {DAILY}


def test_unknown_user_is_a_permission_error_that_names_the_option(lab: RbdLab) -> None:
    with pytest.raises(errors.BackendPermission, match="rbd_user"):
        lab.driver_as("stranger").check()


def test_backend_is_unavailable_while_the_osd_is_stopped(lab: RbdLab, driver: RbdDriver) -> None:
    binding = bind(driver)
    lab.ceph.stop_osd()
    try:
        for act in (driver.list_snapshots, partial(driver.manage_snapshot, binding)):
            with pytest.raises(errors.BackendUnavailable):
                act()
    finally:
        lab.ceph.start_osd()

    assert driver.manage_snapshot(binding).name == MANAGED


def test_closed_driver_has_no_open_files_and_connects_again(lab: RbdLab) -> None:
    before = open_files()
    driver = lab.driver_as("admin")
    driver.list_snapshots()
    assert open_files() > before

    driver.close()
    driver.close()

    assert open_files() == before
    assert [listed.name for listed in driver.list_snapshots()] == [DAILY]


def test_all_callers_of_a_hanging_monitor_time_out_together(lab: RbdLab) -> None:
    fresh = lab.driver_as("admin")
    lab.ceph.freeze()

    with ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(fresh.list_snapshots) for _ in range(4)]
        failures = [call.exception(LONGEST_WAIT_SECONDS) for call in calls]
    lab.ceph.thaw()

    assert {type(failure) for failure in failures} == {errors.BackendUnavailable}
    assert [listed.name for listed in fresh.list_snapshots()] == [DAILY]


def test_lookup_of_a_pool_times_out_while_the_monitor_hangs(lab: RbdLab, driver: RbdDriver) -> None:
    driver.check()
    lab.remove(DAILY)
    lab.rbd.RBD().remove(lab.ioctx, "image-1")
    lab.ceph.freeze()

    # Only the monitor can confirm that the pool is really empty.
    with pytest.raises(errors.BackendUnavailable, match=r"looking up pool|newest map of the cluster"):
        driver.list_snapshots()

    lab.ceph.thaw()
    assert driver.list_snapshots() == []


def test_rename_that_finishes_after_its_timeout_counts_as_done(
    lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    binding = bind(driver)
    rename = raw.rename_snapshot

    def freeze_and_rename(*arguments: Any) -> None:
        lab.ceph.osd.freeze()
        rename(*arguments)

    monkeypatch.setattr(raw, "rename_snapshot", freeze_and_rename)
    with pytest.raises(errors.BackendUnavailable):
        driver.manage_snapshot(binding)
    monkeypatch.undo()
    lab.ceph.osd.thaw()

    assert driver.manage_snapshot(binding).name == MANAGED
    assert lab.names() == {MANAGED}


def blocklist(lab: RbdLab, ioctx: Any) -> None:
    """Let the cluster refuse the client of an open pool from now on."""
    with lab.rbd.Image(ioctx, "image-1") as image:
        [watcher] = image.watchers_list()
    with lab.ceph.connected() as cluster:
        mon_command(cluster, "osd blocklist", blocklistop="add", addr=watcher["addr"])
        mon_command(cluster, "osd blocklist ls")


def test_blocklisted_client_connects_again(lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    binding = bind(driver)
    rename = raw.rename_snapshot

    def blocklist_and_rename(ioctx: Any, *arguments: Any) -> None:
        blocklist(lab, ioctx)
        rename(ioctx, *arguments)

    monkeypatch.setattr(raw, "rename_snapshot", blocklist_and_rename)
    with pytest.raises(errors.BackendUnavailable):
        driver.manage_snapshot(binding)
    monkeypatch.undo()

    assert driver.manage_snapshot(binding).name == MANAGED


@pytest.mark.parametrize("protect", [False, True], ids=["unprotected", "protected"])
@pytest.mark.parametrize("act", ["manage_snapshots", "unmanage_snapshots"])
def test_broken_connection_costs_no_attempt_of_the_rest_of_a_batch(
    lab: RbdLab, monkeypatch: pytest.MonkeyPatch, act: str, protect: bool
) -> None:
    driver, rename = lab.driver_as("admin", rbd_protect=protect), raw.rename_snapshot
    for number in range(3):
        lab.add_snapshot(f"image-1@hourly-{number}")
    found = sorted(driver.list_snapshots(), key=lambda each: each.name)
    bindings = [Binding(each.identity, each.name, f"image-1@mine-{number}") for number, each in enumerate(found)]
    if act == "unmanage_snapshots":
        driver.manage_snapshots(bindings)
    renamed = list[object]()

    def blocklist_and_rename(ioctx: Any, *arguments: Any) -> None:
        renamed.append(arguments)
        if len(renamed) == 2:
            blocklist(lab, ioctx)
        rename(ioctx, *arguments)

    monkeypatch.setattr(raw, "rename_snapshot", blocklist_and_rename)
    failed = getattr(driver, act)(bindings)
    monkeypatch.undo()

    assert [type(each) for each in failed] == [*[errors.BackendUnavailable] * 2, *[NotTried] * 2]
    assert not [each for each in getattr(driver, act)(bindings) if isinstance(each, Exception)]
