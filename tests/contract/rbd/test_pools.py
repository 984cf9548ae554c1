"""Pools and namespaces: separate backends, and errors where they are missing."""

import pytest

from snapmanage import errors
from snapmanage.drivers.rbd.driver import RbdDriver
from tests.contract.labs.rbd import RbdLab
from tests.contract.rbd.helpers import DAILY, bind, find


@pytest.mark.parametrize("lab", ["tenant"], indirect=True)
def test_namespace_is_a_backend_of_its_own(lab: RbdLab, driver: RbdDriver) -> None:
    unnamed = lab.driver_as("admin")

    assert [listed.name for listed in driver.list_snapshots()] == [DAILY]
    assert unnamed.list_snapshots() == []
    with pytest.raises(errors.SourceNotFound):
        find(unnamed)


def test_missing_namespace_is_an_error_and_not_an_empty_listing(lab: RbdLab) -> None:
    driver = lab.driver_as("admin", rbd_namespace="absent")

    for act in (driver.check, driver.list_snapshots):
        with pytest.raises(errors.BackendUnavailable, match="rbd_namespace"):
            act()


def test_snapshot_does_not_count_as_gone_where_its_namespace_is_missing(lab: RbdLab, driver: RbdDriver) -> None:
    binding = bind(driver)
    driver.manage_snapshot(binding)

    with pytest.raises(errors.BackendUnavailable, match="rbd_namespace"):
        lab.driver_as("admin", rbd_namespace="absent").unmanage_snapshot(binding)


def test_removed_pool_is_an_error_and_not_an_empty_listing(lab: RbdLab, driver: RbdDriver) -> None:
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
