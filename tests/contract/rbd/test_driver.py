"""The RBD driver on a real cluster: references, protection, and a cluster that hangs or refuses."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from snapmanage import crash, errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe
from snapmanage.core.reference import Reference
from snapmanage.crash import Point
from snapmanage.drivers.rbd import protection
from snapmanage.drivers.rbd.driver import RbdDriver
from snapmanage.drivers.rbd.image import OpenImage
from snapmanage.drivers.rbd.pool import Pool
from snapmanage.drivers.rbd.unreadable import ImageEntry
from tests.contract.labs.rbd import RbdLab, rbd_lab
from tests.contract.worlds import world_of
from tests.services.ceph import mon_command

DAILY = "image-1@daily"
MANAGED = "image-1@snapshot-1"
LAYERING = 1
LONGEST_WAIT_SECONDS = 60


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[RbdLab]:
    with rbd_lab(request, getattr(request, "param", "")) as made:
        made.add_snapshot(DAILY)
        yield made


@pytest.fixture
def driver(lab: RbdLab) -> RbdDriver:
    return lab.driver


def find(driver: RbdDriver, name: str = DAILY, volume: str | None = None) -> BackendSnapshot:
    return driver.find_snapshot(Reference.named(name), volume)


def by_id(driver: RbdDriver, text: str, volume: str | None = None) -> BackendSnapshot:
    return driver.find_snapshot(Reference.of({"source-id": text}), volume)


def bound(driver: RbdDriver, name: str = DAILY) -> Binding:
    return Binding(find(driver, name).identity, name, MANAGED)


def protected(lab: RbdLab, name: str) -> bool:
    with lab.image() as image:
        return bool(image.is_protected_snap(name.partition("@")[2]))


def notes(lab: RbdLab) -> list[Any]:
    """Return snapmanage's keys in the image's metadata."""
    with lab.image() as image:
        return list(image.metadata_list())


def clone(lab: RbdLab, snapshot: str, version: int) -> None:
    """Clone a snapshot: version 1 needs a protected snapshot; version 2 doesn't, and the snapshot stays removable."""
    lab.cluster.conf_set("rbd_default_clone_format", str(version))
    lab.rbd.RBD().clone(lab.ioctx, "image-1", snapshot, lab.ioctx, "clone")


# References.


def test_snapshot_name_alone_is_looked_up_on_the_volume(lab: RbdLab, driver: RbdDriver) -> None:
    lab.add_volume("image-2")
    lab.add_snapshot("image-2@daily")

    assert find(driver, "daily", "image-2").name == "image-2@daily"
    with pytest.raises(errors.SourceNotFound, match="IMAGE@SNAPSHOT"):
        find(driver, "daily")
    with pytest.raises(errors.SourceNotFound):
        find(driver, "weekly", "image-2")


def test_snapshots_of_one_name_are_managed_on_several_volumes_but_only_once_on_each(
    lab: RbdLab, tmp_path: Path
) -> None:
    lab.add_volume("image-2")
    lab.add_snapshot("image-2@daily")
    with world_of(tmp_path, lab.driver) as world:
        volumes = [world.known_volume(name) for name in ("image-1", "image-2")]

        managed = [world.managed(volume, "daily") for volume in volumes]

        assert [world.client.manage(volume, "daily").status_code for volume in volumes] == [409, 409]
    assert lab.names() == {f"image-{number}@snapshot-{each}" for number, each in enumerate(managed, 1)}


def test_whole_name_finds_a_snapshot_of_another_volume(lab: RbdLab, driver: RbdDriver) -> None:
    lab.add_volume("image-2")

    assert find(driver, DAILY, "image-2").parent == "image-1"


def test_reading_on_the_volume_is_preferred(lab: RbdLab, driver: RbdDriver) -> None:
    lab.add_volume("image-1@daily")
    with lab.image("image-1@daily") as image:
        image.create_snap("1")
    lab.add_snapshot("image-1@daily@1")

    assert find(driver, "image-1@daily@1", "image-1").parent == "image-1"
    assert find(driver, "image-1@daily@1", "image-1@daily").parent == "image-1@daily"


def test_ids_from_a_listing_are_references(driver: RbdDriver) -> None:
    [listed] = driver.list_snapshots()

    assert by_id(driver, listed.extra["source-id"]) == listed


def test_snapshot_id_alone_is_looked_up_on_the_volume(driver: RbdDriver) -> None:
    snapshot = find(driver)

    assert by_id(driver, snapshot.identity.partition("@")[2], "image-1") == snapshot
    with pytest.raises(errors.InvalidReference, match="IMAGE_ID@SNAPSHOT_ID"):
        by_id(driver, snapshot.identity.partition("@")[2])


@pytest.mark.parametrize("text", ["daily", "1@", "@1", "a/b@1", "1@-1", "1@1@1", "1" * 30])
def test_invalid_id_is_refused(driver: RbdDriver, text: str) -> None:
    with pytest.raises(errors.InvalidReference, match="SNAPSHOT_ID"):
        by_id(driver, text, "image-1")


def test_unknown_id_is_not_found(driver: RbdDriver) -> None:
    image_id = find(driver).identity.partition("@")[0]
    for text in (f"{image_id}@999", "abc@1"):
        with pytest.raises(errors.SourceNotFound):
            by_id(driver, text)


def test_template_that_makes_an_impossible_name_is_a_configuration_error(driver: RbdDriver) -> None:
    for name in ("", "a/b", "a@b", "a\0b"):
        with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
            driver.managed_name(find(driver), name)


def test_name_longer_than_the_cluster_accepts_is_refused(driver: RbdDriver) -> None:
    with pytest.raises(errors.InvalidReference):
        driver.find_volume(Reference.named("x" * 3000))


# Refusals and listings.


def test_snapshot_of_a_group_is_listed_unsafe_with_the_reason(lab: RbdLab, driver: RbdDriver) -> None:
    name = lab.add_unusable("group")

    assert {listed.name: listed.unsafe for listed in driver.list_snapshots()} == {DAILY: None, name: Unsafe.UNUSABLE}
    assert "group" in find(driver, name).unsafe_reason


def test_snapshot_in_the_trash_is_listed_unsafe_and_found_by_its_old_name(lab: RbdLab, driver: RbdDriver) -> None:
    clone(lab, "daily", version=2)
    lab.remove(DAILY)

    found = find(driver)

    assert driver.list_snapshots() == [found]
    assert (found.unsafe, "trash" in found.unsafe_reason) == (Unsafe.UNUSABLE, True)


def test_snapshot_with_clones_and_a_writer_is_managed_and_unmanaged(lab: RbdLab, driver: RbdDriver) -> None:
    clone(lab, "daily", version=2)
    binding = bound(driver)

    with lab.image() as writer:
        writer.write(b"data", 0)
        assert writer.is_exclusive_lock_owner()
        driver.manage_snapshot(binding)
        managed = lab.names()
        driver.unmanage_snapshot(binding)

    assert managed == {MANAGED}
    assert lab.names() == {DAILY}


def test_managed_snapshot_is_found_after_its_image_was_renamed(lab: RbdLab, driver: RbdDriver) -> None:
    binding = bound(driver)
    driver.manage_snapshot(binding)
    lab.rbd.RBD().rename(lab.ioctx, "image-1", "renamed")

    managed = driver.manage_snapshot(binding)
    driver.unmanage_snapshot(binding)

    assert managed.name == "renamed@snapshot-1"
    assert lab.names() == {"renamed@daily"}


def test_snapshot_whose_image_is_gone_is_unmanaged_but_not_managed(lab: RbdLab, driver: RbdDriver) -> None:
    binding = bound(driver)
    lab.remove(DAILY)
    lab.rbd.RBD().remove(lab.ioctx, "image-1")

    driver.unmanage_snapshot(binding)

    with pytest.raises(errors.SourceNotFound):
        driver.manage_snapshot(binding)


def test_image_that_is_removed_during_a_listing_is_omitted(
    lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, gone = Pool.images, [ImageEntry("gone", "abc", b"gone")]
    # The first read of the directory still has the image.
    monkeypatch.setattr(Pool, "images", lambda pool: [*(gone.pop() for _ in gone[:]), *images(pool)])

    assert [listed.name for listed in driver.list_snapshots()] == [DAILY]


def test_listing_has_the_snapshots_of_hundreds_of_images(lab: RbdLab, driver: RbdDriver) -> None:
    def add(number: int) -> None:
        lab.write_snapshots(lab.add_volume(f"many-{number}"), "daily")

    with ThreadPoolExecutor(8) as makers:
        list(makers.map(add, range(499)))

    assert len({listed.name for listed in driver.list_snapshots()}) == 500


# Protection.


def test_unprotected_snapshot_is_protected_while_it_is_managed(lab: RbdLab) -> None:
    driver = lab.driver_as("admin", rbd_protect=True)
    binding = bound(driver)

    driver.manage_snapshot(binding)
    driver.manage_snapshot(binding)
    while_managed = protected(lab, MANAGED)
    # The option is off by now; the protection is undone all the same.
    lab.driver.unmanage_snapshot(binding)
    lab.driver.unmanage_snapshot(binding)

    assert (while_managed, protected(lab, DAILY)) == (True, False)
    assert notes(lab) == []


def test_snapshot_that_was_protected_before_stays_protected(lab: RbdLab) -> None:
    driver = lab.driver_as("admin", rbd_protect=True)
    binding = bound(driver)
    with lab.image() as image:
        image.protect_snap("daily")

    driver.manage_snapshot(binding)
    driver.unmanage_snapshot(binding)

    assert protected(lab, DAILY)


def test_snapshot_stays_unprotected_without_the_option(lab: RbdLab, driver: RbdDriver) -> None:
    driver.manage_snapshot(bound(driver))

    assert not protected(lab, MANAGED)
    assert notes(lab) == []


def test_snapshot_with_clones_is_in_use_until_they_are_removed(lab: RbdLab) -> None:
    driver = lab.driver_as("admin", rbd_protect=True)
    binding = bound(driver)
    driver.manage_snapshot(binding)
    clone(lab, "snapshot-1", version=1)

    with pytest.raises(errors.InUse, match="rbd children"):
        driver.unmanage_snapshot(binding)
    lab.rbd.RBD().remove(lab.ioctx, "clone")
    driver.unmanage_snapshot(binding)

    assert lab.names() == {DAILY}
    assert not protected(lab, DAILY)


def test_image_without_layering_is_refused_before_the_rename(lab: RbdLab) -> None:
    lab.rbd.RBD().create(lab.ioctx, "plain", 1024**2, features=4)
    lab.add_snapshot("plain@daily")
    driver = lab.driver_as("admin", rbd_protect=True)

    with pytest.raises(errors.Unusable, match="rbd_protect"):
        driver.manage_snapshot(bound(driver, "plain@daily"))

    assert lab.names() == {DAILY, "plain@daily"}


class Dying:
    """An image that raises `Killed` right before or after the call of that name."""

    class Killed(BaseException):
        pass

    def __init__(self, image: Any, step: str, after: bool) -> None:
        self._image, self._step, self._after = image, step, after

    def __getattr__(self, name: str) -> Any:
        return partial(self._die, name) if name == self._step else getattr(self._image, name)

    def _die(self, name: str, *arguments: Any) -> None:
        if self._after:
            getattr(self._image, name)(*arguments)
        raise self.Killed


@contextmanager
def dying(step: str, after: bool) -> Iterator[None]:
    """Let protecting and unprotecting die at that step, and expect that death."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("protect", "restore"):
            act = getattr(protection, name)
            patch.setattr(protection, name, lambda image, *rest, act=act: act(Dying(image, step, after), *rest))
        with pytest.raises(Dying.Killed):
            yield


before_and_after = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])


@before_and_after
@pytest.mark.parametrize("step", ["metadata_set", "protect_snap"])
def test_next_attempt_finishes_an_interrupted_protection(lab: RbdLab, step: str, after: bool) -> None:
    driver = lab.driver_as("admin", rbd_protect=True)
    binding = bound(driver)

    with dying(step, after):
        driver.manage_snapshot(binding)
    driver.manage_snapshot(binding)

    assert protected(lab, MANAGED)
    driver.unmanage_snapshot(binding)
    assert (lab.names(), protected(lab, DAILY), notes(lab)) == ({DAILY}, False, [])


@before_and_after
@pytest.mark.parametrize("step", ["unprotect_snap", "metadata_remove"])
def test_next_attempt_finishes_an_interrupted_unprotection(lab: RbdLab, step: str, after: bool) -> None:
    driver = lab.driver_as("admin", rbd_protect=True)
    binding = bound(driver)
    driver.manage_snapshot(binding)

    with dying(step, after):
        driver.unmanage_snapshot(binding)
    driver.unmanage_snapshot(binding)

    assert (lab.names(), protected(lab, DAILY), notes(lab)) == ({DAILY}, False, [])


ACT = """
import os, sys
from snapmanage import crash
from snapmanage.core.backend import Binding
from snapmanage.drivers.rbd.driver import RbdDriver

crash.arm(os.environ)
pool, conf, act, *binding = sys.argv[1:]
getattr(RbdDriver(pool, rbd_user="admin", rbd_ceph_conf=conf, rbd_protect=True), act)(Binding(*binding))
"""


def die(lab: RbdLab, point: Point, act: str, binding: Binding) -> None:
    """Kill a process at a point of an operation, while its image is open on the cluster."""
    arguments = [lab.pool, str(lab.ceph.conf), act, *astuple(binding)]
    environment = os.environ | {crash.VARIABLE: point.label}
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", ACT, *arguments], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize("point", [Point.RENAMING, Point.RENAMED, Point.PROTECTION_NOTED])
def test_next_attempt_manages_after_a_process_was_killed(lab: RbdLab, point: Point) -> None:
    driver = lab.driver_as("admin", rbd_protect=True, rbd_timeout_seconds=30)
    binding = bound(driver)
    die(lab, point, "manage_snapshot", binding)

    driver.manage_snapshot(binding)

    assert (lab.names(), protected(lab, MANAGED)) == ({MANAGED}, True)


@pytest.mark.parametrize("point", [Point.RENAMING, Point.RENAMED, Point.UNPROTECTED])
def test_next_attempt_unmanages_after_a_process_was_killed(lab: RbdLab, point: Point) -> None:
    driver = lab.driver_as("admin", rbd_protect=True, rbd_timeout_seconds=30)
    binding = bound(driver)
    driver.manage_snapshot(binding)
    die(lab, point, "unmanage_snapshot", binding)

    driver.unmanage_snapshot(binding)

    assert (lab.names(), protected(lab, DAILY), notes(lab)) == ({DAILY}, False, [])


# Pools and namespaces.


@pytest.mark.parametrize("lab", ["tenant"], indirect=True)
def test_namespace_is_a_backend_of_its_own(lab: RbdLab, driver: RbdDriver) -> None:
    unnamed = lab.driver_as("admin")

    assert [listed.name for listed in driver.list_snapshots()] == [DAILY]
    assert unnamed.list_snapshots() == []
    with pytest.raises(errors.SourceNotFound):
        find(unnamed)


def test_missing_namespace_is_an_error_and_no_empty_listing(lab: RbdLab) -> None:
    driver = lab.driver_as("admin", rbd_namespace="absent")

    for act in (driver.check, driver.list_snapshots):
        with pytest.raises(errors.BackendUnavailable, match="rbd_namespace"):
            act()


def test_removed_pool_is_an_error_and_no_empty_listing(lab: RbdLab, driver: RbdDriver) -> None:
    driver.check()
    with lab.ceph.connected() as cluster:
        cluster.delete_pool(lab.pool)

    with pytest.raises(errors.BackendUnavailable, match="rbd_pool"):
        driver.list_snapshots()
    with pytest.raises(errors.BackendUnavailable, match="rbd_pool"):
        driver.check()


def test_error_for_a_missing_option_names_rbd_pool() -> None:
    with pytest.raises(errors.ConfigurationError, match="rbd_pool"):
        RbdDriver().check()


def test_error_for_a_missing_ceph_conf_names_the_option(lab: RbdLab) -> None:
    with pytest.raises(errors.ConfigurationError, match="rbd_ceph_conf"):
        lab.driver_as("admin", rbd_ceph_conf="/nowhere/ceph.conf").check()


# A cluster that refuses or hangs.


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
    binding = bound(driver)
    lab.ceph.stop_osd()
    try:
        for act in (driver.list_snapshots, partial(driver.manage_snapshot, binding)):
            with pytest.raises(errors.BackendUnavailable):
                act()
    finally:
        lab.ceph.start_osd()

    assert driver.manage_snapshot(binding).name == MANAGED


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


def test_rename_that_finishes_after_its_timeout_is_found_done(
    lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    binding = bound(driver)
    rename = OpenImage.rename

    def hanging(image: OpenImage, old: str, new: str) -> None:
        lab.ceph.osd.freeze()
        rename(image, old, new)

    monkeypatch.setattr(OpenImage, "rename", hanging)
    with pytest.raises(errors.BackendUnavailable):
        driver.manage_snapshot(binding)
    monkeypatch.undo()
    lab.ceph.osd.thaw()

    assert driver.manage_snapshot(binding).name == MANAGED
    assert lab.names() == {MANAGED}


def test_blocklisted_client_connects_again(lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    binding = bound(driver)
    rename = OpenImage.rename

    def blocklisted(image: OpenImage, old: str, new: str) -> None:
        [watcher] = image.image.watchers_list()
        with lab.ceph.connected() as cluster:
            mon_command(cluster, "osd blocklist", blocklistop="add", addr=watcher["addr"])
            mon_command(cluster, "osd blocklist ls")
        rename(image, old, new)

    monkeypatch.setattr(OpenImage, "rename", blocklisted)
    with pytest.raises(errors.BackendUnavailable):
        driver.manage_snapshot(binding)
    monkeypatch.undo()

    assert driver.manage_snapshot(binding).name == MANAGED
