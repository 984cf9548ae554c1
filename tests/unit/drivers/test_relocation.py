"""Unmanaging objects that may have moved: the trouble of the search is that of the missing objects alone."""

from collections.abc import Mapping, Sequence
from functools import partial

import pytest

from snapmanage import errors
from snapmanage.core.backend import Binding
from snapmanage.drivers import renaming
from snapmanage.drivers.fake import FakeDriver
from snapmanage.drivers.relocation import unmanage_everywhere


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver(fake_volumes=1, fake_snapshots=4)


@pytest.fixture
def bindings(driver: FakeDriver) -> list[Binding]:
    bindings = [Binding(found.identity, found.name, f"managed-{found.name}") for found in driver.list_snapshots()]
    renaming.manage_many(driver, bindings)
    return bindings


def test_failed_search_is_the_error_of_the_missing_objects_alone(driver: FakeDriver, bindings: list[Binding]) -> None:
    failure = errors.BackendUnavailable("the search failed")
    driver.rename(bindings[1].managed_name, "elsewhere")

    def relocate(missing: Sequence[Binding]) -> Mapping[Binding, Binding]:
        raise failure

    ends, present = unmanage_everywhere(bindings, partial(renaming.unmanage_many, driver), relocate)

    assert ends == [True, failure, True, True]
    assert present == bindings


def test_moved_object_is_unmanaged_at_its_place_and_a_gone_one_is_left_out(
    driver: FakeDriver, bindings: list[Binding]
) -> None:
    _, moved, gone, _ = bindings
    driver.rename(moved.managed_name, "elsewhere/managed")
    driver.remove(gone.managed_name)
    there = Binding(moved.identity, "elsewhere/daily", "elsewhere/managed")

    ends, present = unmanage_everywhere(
        bindings, partial(renaming.unmanage_many, driver), lambda missing: {moved: there} if moved in missing else {}
    )

    assert ends == [True, True, False, True]
    assert present == [bindings[0], there, *bindings[2:]]
    assert "elsewhere/daily" in {found.name for found in driver.list_snapshots()}
