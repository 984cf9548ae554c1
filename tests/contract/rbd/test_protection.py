"""Protection of managed snapshots, and its reversal after an interruption."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from functools import partial
from typing import Any

import pytest

from snapmanage import crash, errors
from snapmanage.core.backend import Binding
from snapmanage.crash import Point
from snapmanage.drivers.rbd import protection
from snapmanage.drivers.rbd.driver import RbdDriver
from tests.contract.labs.rbd import RbdLab
from tests.contract.rbd.helpers import (
    DAILY,
    MANAGED,
    bind,
    clone,
    is_protected,
    protection_keys,
)


def test_unprotected_snapshot_is_protected_while_it_is_managed(lab: RbdLab) -> None:
    driver = lab.driver_as("admin", rbd_protect=True)
    binding = bind(driver)

    driver.manage_snapshot(binding)
    driver.manage_snapshot(binding)
    while_managed = is_protected(lab, MANAGED)
    # The option is off now, but the protection is still removed.
    lab.driver.unmanage_snapshot(binding)
    lab.driver.unmanage_snapshot(binding)

    assert (while_managed, is_protected(lab, DAILY)) == (True, False)
    assert protection_keys(lab) == []


def test_snapshot_that_was_protected_before_stays_protected(lab: RbdLab) -> None:
    driver = lab.driver_as("admin", rbd_protect=True)
    binding = bind(driver)
    with lab.image() as image:
        image.protect_snap("daily")

    driver.manage_snapshot(binding)
    driver.unmanage_snapshot(binding)

    assert is_protected(lab, DAILY)


def test_snapshot_stays_unprotected_without_the_option(lab: RbdLab, driver: RbdDriver) -> None:
    driver.manage_snapshot(bind(driver))

    assert not is_protected(lab, MANAGED)
    assert protection_keys(lab) == []


def test_snapshot_with_clones_is_in_use_until_they_are_removed(lab: RbdLab) -> None:
    driver = lab.driver_as("admin", rbd_protect=True)
    binding = bind(driver)
    driver.manage_snapshot(binding)
    clone(lab, "snapshot-1", version=1)

    with pytest.raises(errors.InUse, match="rbd children"):
        driver.unmanage_snapshot(binding)
    lab.rbd.RBD().remove(lab.ioctx, "clone")
    driver.unmanage_snapshot(binding)

    assert lab.names() == {DAILY}
    assert not is_protected(lab, DAILY)


def test_image_without_layering_is_refused_before_the_rename(lab: RbdLab) -> None:
    lab.rbd.RBD().create(lab.ioctx, "plain", 1024**2, features=4)
    lab.add_snapshot("plain@daily")
    driver = lab.driver_as("admin", rbd_protect=True)

    with pytest.raises(errors.Unusable, match="rbd_protect"):
        driver.manage_snapshot(bind(driver, "plain@daily"))

    assert lab.names() == {DAILY, "plain@daily"}


class DyingImage:
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
def die_at(step: str, after: bool) -> Iterator[None]:
    """Make protecting and unprotecting raise `Killed` at that step; fail the test if they don't."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("protect", "restore"):
            act = getattr(protection, name)
            patch.setattr(protection, name, lambda image, *rest, act=act: act(DyingImage(image, step, after), *rest))
        with pytest.raises(DyingImage.Killed):
            yield


before_and_after = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])


@before_and_after
@pytest.mark.parametrize("step", ["metadata_set", "protect_snap"])
def test_next_attempt_finishes_an_interrupted_protection(lab: RbdLab, step: str, after: bool) -> None:
    driver = lab.driver_as("admin", rbd_protect=True)
    binding = bind(driver)

    with die_at(step, after):
        driver.manage_snapshot(binding)
    driver.manage_snapshot(binding)

    assert is_protected(lab, MANAGED)
    driver.unmanage_snapshot(binding)
    assert (lab.names(), is_protected(lab, DAILY), protection_keys(lab)) == ({DAILY}, False, [])


@before_and_after
@pytest.mark.parametrize("step", ["unprotect_snap", "metadata_remove"])
def test_next_attempt_finishes_an_interrupted_unprotection(lab: RbdLab, step: str, after: bool) -> None:
    driver = lab.driver_as("admin", rbd_protect=True)
    binding = bind(driver)
    driver.manage_snapshot(binding)

    with die_at(step, after):
        driver.unmanage_snapshot(binding)
    driver.unmanage_snapshot(binding)

    assert (lab.names(), is_protected(lab, DAILY), protection_keys(lab)) == ({DAILY}, False, [])


ACT = """
import os, sys
from snapmanage import crash
from snapmanage.core.backend import Binding
from snapmanage.drivers.rbd.driver import RbdDriver

crash.arm(os.environ)
pool, conf, act, *binding = sys.argv[1:]
getattr(RbdDriver(pool, rbd_user="admin", rbd_ceph_conf=conf, rbd_protect=True), act)(Binding(*binding))
"""


def kill_at(lab: RbdLab, point: Point, act: str, binding: Binding) -> None:
    """Kill a process at a point of an operation, while its image is open on the cluster."""
    arguments = [lab.pool, str(lab.ceph.conf), act, *astuple(binding)]
    environment = os.environ | {crash.VARIABLE: point.label}
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", ACT, *arguments], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize("point", [Point.RENAMING, Point.RENAMED, Point.PROTECTION_NOTED])
def test_next_attempt_manages_after_a_process_was_killed(lab: RbdLab, point: Point) -> None:
    driver = lab.driver_as("admin", rbd_protect=True, rbd_timeout_seconds=30)
    binding = bind(driver)
    kill_at(lab, point, "manage_snapshot", binding)

    driver.manage_snapshot(binding)

    assert (lab.names(), is_protected(lab, MANAGED)) == ({MANAGED}, True)


@pytest.mark.parametrize("point", [Point.RENAMING, Point.RENAMED, Point.UNPROTECTED])
def test_next_attempt_unmanages_after_a_process_was_killed(lab: RbdLab, point: Point) -> None:
    driver = lab.driver_as("admin", rbd_protect=True, rbd_timeout_seconds=30)
    binding = bind(driver)
    driver.manage_snapshot(binding)
    kill_at(lab, point, "unmanage_snapshot", binding)

    driver.unmanage_snapshot(binding)

    assert (lab.names(), is_protected(lab, DAILY), protection_keys(lab)) == ({DAILY}, False, [])
