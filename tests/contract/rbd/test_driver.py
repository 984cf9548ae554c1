"""What is RBD's own, on a real cluster: references, protection, and a cluster that hangs or refuses."""

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
from snapmanage.drivers.rbd.unreadable import Listed
from tests.contract.labs.rbd import RbdLab, rbd_lab
from tests.contract.worlds import world_of
from tests.services.ceph import told

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
    """What snapmanage keeps in the image's metadata."""
    with lab.image() as image:
        return list(image.metadata_list())


def clone(lab: RbdLab, snapshot: str, version: int) -> None:
    """Version 1 needs a protected snapshot, version 2 none, which then may be removed nevertheless."""
    lab.cluster.conf_set("rbd_default_clone_format", str(version))
    lab.rbd.RBD().clone(lab.ioctx, "image-1", snapshot, lab.ioctx, "clone")


# References.


def test_snapshots_name_alone_means_the_one_on_the_volume(lab: RbdLab, driver: RbdDriver) -> None:
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


def test_name_of_a_snapshot_on_another_volume_finds_it_as_that_ones(lab: RbdLab, driver: RbdDriver) -> None:
    lab.add_volume("image-2")

    assert find(driver, DAILY, "image-2").parent == "image-1"


def test_of_two_readings_of_a_name_the_one_on_the_volume_counts(lab: RbdLab, driver: RbdDriver) -> None:
    lab.add_volume("image-1@daily")
    with lab.image("image-1@daily") as image:
        image.create_snap("1")
    lab.add_snapshot("image-1@daily@1")

    assert find(driver, "image-1@daily@1", "image-1").parent == "image-1"
    assert find(driver, "image-1@daily@1", "image-1@daily").parent == "image-1@daily"


def test_ids_that_a_listing_tells_are_references(driver: RbdDriver) -> None:
    [listed] = driver.list_snapshots()

    assert by_id(driver, listed.extra["source-id"]) == listed


def test_snapshots_id_alone_means_the_one_on_the_volume(driver: RbdDriver) -> None:
    snapshot = find(driver)

    assert by_id(driver, snapshot.identity.partition("@")[2], "image-1") == snapshot
    with pytest.raises(errors.InvalidReference, match="IMAGE_ID@SNAPSHOT_ID"):
        by_id(driver, snapshot.identity.partition("@")[2])


@pytest.mark.parametrize("text", ["daily", "1@", "@1", "a/b@1", "1@-1", "1@1@1", "1" * 30])
def test_what_is_no_id_is_refused(driver: RbdDriver, text: str) -> None:
    with pytest.raises(errors.InvalidReference, match="SNAPSHOT_ID"):
        by_id(driver, text, "image-1")


def test_id_that_nothing_has_is_not_found(driver: RbdDriver) -> None:
    image_id = find(driver).identity.partition("@")[0]
    for text in (f"{image_id}@999", "abc@1"):
        with pytest.raises(errors.SourceNotFound):
            by_id(driver, text)


def test_template_that_makes_no_name_for_rbd_is_the_operators_to_mend(driver: RbdDriver) -> None:
    for name in ("", "a/b", "a@b", "a\0b"):
        with pytest.raises(errors.ConfigurationError, match="snapshot_name_template"):
            driver.managed_name(find(driver), name)


def test_name_longer_than_the_cluster_takes_is_refused(driver: RbdDriver) -> None:
    with pytest.raises(errors.InvalidReference):
        driver.find_volume(Reference.named("x" * 3000))


# What may be managed.


def test_groups_snapshot_is_listed_unsafe_and_says_why(lab: RbdLab, driver: RbdDriver) -> None:
    name = lab.add_unusable("group")

    assert {listed.name: listed.unsafe for listed in driver.list_snapshots()} == {DAILY: None, name: Unsafe.UNUSABLE}
    assert "group" in find(driver, name).unsafe_reason


def test_snapshot_in_the_trash_is_listed_unsafe_and_says_why_under_its_old_name(lab: RbdLab, driver: RbdDriver) -> None:
    clone(lab, "daily", version=2)
    lab.remove(DAILY)

    found = find(driver)

    assert driver.list_snapshots() == [found]
    assert (found.unsafe, "trash" in found.unsafe_reason) == (Unsafe.UNUSABLE, True)


def test_snapshot_with_clones_and_a_writer_is_managed_and_given_back(lab: RbdLab, driver: RbdDriver) -> None:
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


def test_image_that_was_renamed_meanwhile_keeps_its_managed_snapshot(lab: RbdLab, driver: RbdDriver) -> None:
    binding = bound(driver)
    driver.manage_snapshot(binding)
    lab.rbd.RBD().rename(lab.ioctx, "image-1", "renamed")

    managed = driver.manage_snapshot(binding)
    driver.unmanage_snapshot(binding)

    assert managed.name == "renamed@snapshot-1"
    assert lab.names() == {"renamed@daily"}


def test_image_that_is_gone_can_be_given_back_but_not_managed(lab: RbdLab, driver: RbdDriver) -> None:
    binding = bound(driver)
    lab.remove(DAILY)
    lab.rbd.RBD().remove(lab.ioctx, "image-1")

    driver.unmanage_snapshot(binding)

    with pytest.raises(errors.SourceNotFound):
        driver.manage_snapshot(binding)


def test_image_that_goes_during_a_listing_is_left_out(
    lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, gone = Pool.images, [Listed("gone", "abc", b"gone")]
    # The first look at the directory still has it.
    monkeypatch.setattr(Pool, "images", lambda pool: [*(gone.pop() for _ in gone[:]), *images(pool)])

    assert [listed.name for listed in driver.list_snapshots()] == [DAILY]


def test_hundreds_of_images_are_listed(lab: RbdLab, driver: RbdDriver) -> None:
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
    # What was done then is undone whatever the option says by now.
    lab.driver.unmanage_snapshot(binding)
    lab.driver.unmanage_snapshot(binding)

    assert (while_managed, protected(lab, DAILY)) == (True, False)
    assert notes(lab) == []


def test_snapshot_that_was_protected_before_stays_so(lab: RbdLab) -> None:
    driver = lab.driver_as("admin", rbd_protect=True)
    binding = bound(driver)
    with lab.image() as image:
        image.protect_snap("daily")

    driver.manage_snapshot(binding)
    driver.unmanage_snapshot(binding)

    assert protected(lab, DAILY)


def test_nothing_is_protected_unless_the_option_asks(lab: RbdLab, driver: RbdDriver) -> None:
    driver.manage_snapshot(bound(driver))

    assert not protected(lab, MANAGED)
    assert notes(lab) == []


def test_snapshot_that_got_clones_is_in_use_until_they_are_gone(lab: RbdLab) -> None:
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


def test_image_that_knows_no_protection_is_refused_before_anything_is_renamed(lab: RbdLab) -> None:
    lab.rbd.RBD().create(lab.ioctx, "plain", 1024**2, features=4)
    lab.add_snapshot("plain@daily")
    driver = lab.driver_as("admin", rbd_protect=True)

    with pytest.raises(errors.Unusable, match="rbd_protect"):
        driver.manage_snapshot(bound(driver, "plain@daily"))

    assert lab.names() == {DAILY, "plain@daily"}


class Dying:
    """An image whose user dies right before or after the step of that name."""

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
    """Whoever protects or unprotects meanwhile dies of that step."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("protect", "restore"):
            act = getattr(protection, name)
            patch.setattr(protection, name, lambda image, *rest, act=act: act(Dying(image, step, after), *rest))
        with pytest.raises(Dying.Killed):
            yield


before_and_after = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])


@before_and_after
@pytest.mark.parametrize("step", ["metadata_set", "protect_snap"])
def test_who_takes_over_from_who_died_while_protecting_finishes_it(lab: RbdLab, step: str, after: bool) -> None:
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
def test_who_takes_over_from_who_died_while_unprotecting_finishes_it(lab: RbdLab, step: str, after: bool) -> None:
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
    """Let a process die at a point of an operation, with all that it has open on the cluster."""
    arguments = [lab.pool, str(lab.ceph.conf), act, *astuple(binding)]
    environment = os.environ | {crash.VARIABLE: point.label}
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", ACT, *arguments], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize("point", [Point.RENAMING, Point.RENAMED, Point.PROTECTION_NOTED])
def test_who_takes_over_from_a_killed_process_manages(lab: RbdLab, point: Point) -> None:
    driver = lab.driver_as("admin", rbd_protect=True, rbd_timeout_seconds=30)
    binding = bound(driver)
    die(lab, point, "manage_snapshot", binding)

    driver.manage_snapshot(binding)

    assert (lab.names(), protected(lab, MANAGED)) == ({MANAGED}, True)


@pytest.mark.parametrize("point", [Point.RENAMING, Point.RENAMED, Point.UNPROTECTED])
def test_who_takes_over_from_a_killed_process_gives_back(lab: RbdLab, point: Point) -> None:
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


def test_namespace_that_is_not_there_is_no_empty_listing(lab: RbdLab) -> None:
    driver = lab.driver_as("admin", rbd_namespace="absent")

    for act in (driver.check, driver.list_snapshots):
        with pytest.raises(errors.BackendUnavailable, match="rbd_namespace"):
            act()


def test_pool_that_is_removed_is_no_empty_listing(lab: RbdLab, driver: RbdDriver) -> None:
    driver.check()
    with lab.ceph.connected() as cluster:
        cluster.delete_pool(lab.pool)

    with pytest.raises(errors.BackendUnavailable, match="rbd_pool"):
        driver.list_snapshots()
    with pytest.raises(errors.BackendUnavailable, match="rbd_pool"):
        driver.check()


def test_pool_that_is_not_configured_is_told_with_the_remedy() -> None:
    with pytest.raises(errors.ConfigurationError, match="rbd_pool"):
        RbdDriver().check()


def test_cluster_that_is_not_configured_is_told_with_the_remedy(lab: RbdLab) -> None:
    with pytest.raises(errors.ConfigurationError, match="rbd_ceph_conf"):
        lab.driver_as("admin", rbd_ceph_conf="/nowhere/ceph.conf").check()


# A cluster that refuses or hangs.


def test_who_may_only_read_lists_but_manages_nothing(lab: RbdLab) -> None:
    driver = lab.driver_as("reader")
    driver.check()
    [listed] = driver.list_snapshots()

    for act in (driver.manage_snapshot, driver.unmanage_snapshot):
        with pytest.raises(errors.BackendPermission, match="profile rbd") as caught:
            act(Binding(listed.identity, *((DAILY, MANAGED) if act == driver.manage_snapshot else (MANAGED, DAILY))))
        assert caught.value.code == "backend_permission"
    assert lab.names() == {DAILY}


def test_user_that_the_cluster_does_not_know_is_a_matter_of_permission(lab: RbdLab) -> None:
    with pytest.raises(errors.BackendPermission, match="rbd_user"):
        lab.driver_as("stranger").check()


def test_stopped_osd_is_a_backend_that_is_away_until_it_is_back(lab: RbdLab, driver: RbdDriver) -> None:
    binding = bound(driver)
    lab.ceph.stop_osd()
    try:
        for act in (driver.list_snapshots, partial(driver.manage_snapshot, binding)):
            with pytest.raises(errors.BackendUnavailable):
                act()
    finally:
        lab.ceph.start_osd()

    assert driver.manage_snapshot(binding).name == MANAGED


def test_hung_monitor_is_given_up_at_the_deadline_by_everybody_at_once(lab: RbdLab) -> None:
    fresh = lab.driver_as("admin")
    lab.ceph.freeze()

    with ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(fresh.list_snapshots) for _ in range(4)]
        failures = [call.exception(LONGEST_WAIT_SECONDS) for call in calls]
    lab.ceph.thaw()

    assert {type(failure) for failure in failures} == {errors.BackendUnavailable}
    assert [listed.name for listed in fresh.list_snapshots()] == [DAILY]


def test_looking_up_a_pool_is_given_up_where_the_monitor_hangs(lab: RbdLab, driver: RbdDriver) -> None:
    driver.check()
    lab.remove(DAILY)
    lab.rbd.RBD().remove(lab.ioctx, "image-1")
    lab.ceph.freeze()

    # That an empty list is the truth, only the monitor can tell.
    with pytest.raises(errors.BackendUnavailable, match="given up"):
        driver.list_snapshots()

    lab.ceph.thaw()
    assert driver.list_snapshots() == []


def test_rename_that_is_done_too_late_for_its_caller_is_found_done(
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


def test_client_that_the_cluster_shut_out_connects_anew(
    lab: RbdLab, driver: RbdDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    binding = bound(driver)
    rename = OpenImage.rename

    def shut_out(image: OpenImage, old: str, new: str) -> None:
        [watcher] = image.image.watchers_list()
        with lab.ceph.connected() as cluster:
            told(cluster, "osd blocklist", blocklistop="add", addr=watcher["addr"])
            told(cluster, "osd blocklist ls")
        rename(image, old, new)

    monkeypatch.setattr(OpenImage, "rename", shut_out)
    with pytest.raises(errors.BackendUnavailable):
        driver.manage_snapshot(binding)
    monkeypatch.undo()

    assert driver.manage_snapshot(binding).name == MANAGED
