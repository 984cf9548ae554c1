"""Arrays whose vendor drivers start once for all tests."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from snapmanage.drivers.cinder import vendors
from snapmanage.drivers.cinder.driver import CinderDriver
from snapmanage.drivers.cinder.vendors import Vendor
from tests.contract.cinder.array import VENDOR, Array


@pytest.fixture(scope="session")
def started_array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Array]:
    made = Array(tmp_path_factory.mktemp("array"))
    yield made
    made.driver.close()


@pytest.fixture
def array(started_array: Array) -> Array:
    return started_array.reset()


@pytest.fixture(scope="session")
def started_renaming_array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Array]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vendors, "VENDORS", {f"{VENDOR}.": Vendor(renames_to_any_name=True, unmanage_undoes_more=True)})
        made = Array(tmp_path_factory.mktemp("array"), "RenamingDriver")
    yield made
    made.driver.close()


@pytest.fixture
def renaming_array(started_renaming_array: Array) -> Array:
    """Return an array whose vendor driver renames to any name, and lists no identities."""
    return started_renaming_array.reset()


@pytest.fixture(scope="session")
def driver_with_options(started_array: Array) -> Iterator[CinderDriver]:
    """Yield a driver whose section has options of the vendor driver; the tests that share it rename nothing."""
    port, target, password = ["8443"], ["one", "two"], ["hunter2'\\ö"]
    with closing(started_array.make_driver(array_port=port, array_target=target, array_password=password)) as driver:
        yield driver
