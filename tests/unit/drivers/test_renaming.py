"""Renames of objects while other workers and operators interfere between the steps."""

from collections.abc import Callable

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe
from snapmanage.drivers import renaming
from snapmanage.drivers.fake import FakeDriver

OLD, NEW = "daily", "snapshot-1"


class Killed(BaseException):
    """Stands for the death of a worker; snapmanage never catches it."""


@pytest.fixture
def driver() -> FakeDriver:
    driver = FakeDriver(fake_volumes=1, fake_snapshots=0)
    driver.add_snapshot("volume-1", OLD)
    return driver


@pytest.fixture
def binding(driver: FakeDriver) -> Binding:
    [snapshot] = driver.list_snapshots()
    return Binding(snapshot.identity, OLD, NEW)


def names(driver: FakeDriver) -> dict[str, str]:
    return {found.name: found.identity for found in driver.list_snapshots()}


def act_once_at(step: str, act: Callable[[], object]) -> Callable[[str], None]:
    """Return a hook that acts when the step is first reached."""
    pending = [step]

    def hook(reached: str) -> None:
        if reached in pending:
            pending.remove(reached)
            act()

    return hook


def failing(failure: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise failure

    return act


class OneByOne:
    """A renamer that looks at one name, calls `between`, and then looks at the other names."""

    def __init__(self, driver: FakeDriver, between: Callable[[], object]) -> None:
        self.driver = driver
        self.between = between
        self.rename = driver.rename

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        seen = self.driver.look(names[0])
        self.between()
        return seen | self.driver.look(*names[1:])


@pytest.mark.parametrize("step", ["rename", "renamed"])
def test_next_worker_completes_the_rename_of_a_killed_worker(driver: FakeDriver, binding: Binding, step: str) -> None:
    driver.hook = act_once_at(step, failing(Killed()))

    with pytest.raises(Killed):
        driver.manage_snapshot(binding)
    managed = driver.manage_snapshot(binding)

    assert names(driver) == {NEW: binding.identity} == {managed.name: managed.identity}


def test_rename_that_was_done_counts_as_done_despite_an_error(driver: FakeDriver, binding: Binding) -> None:
    driver.hook = act_once_at("renamed", failing(errors.BackendUnavailable("no answer")))

    assert driver.manage_snapshot(binding).name == NEW


class Idle:
    """A renamer that reports every rename as done and does none."""

    def __init__(self, driver: FakeDriver) -> None:
        self.look = driver.look

    def rename(self, old: str, new: str) -> None:
        pass


def test_rename_that_is_reported_as_done_but_changed_nothing_is_an_error_that_is_retried(
    driver: FakeDriver, binding: Binding
) -> None:
    with pytest.raises(errors.BackendError, match="changed nothing"):
        renaming.manage(Idle(driver), binding)
    driver.manage_snapshot(binding)

    with pytest.raises(errors.BackendError, match="changed nothing"):
        renaming.unmanage(Idle(driver), binding)


def test_failed_rename_raises_its_own_error(driver: FakeDriver, binding: Binding) -> None:
    driver.hook = act_once_at("rename", failing(errors.BackendBusy("locked")))

    with pytest.raises(errors.BackendBusy, match="locked"):
        driver.manage_snapshot(binding)

    assert names(driver) == {OLD: binding.identity}


def test_name_of_an_object_that_took_the_old_name_after_the_look_is_restored(
    driver: FakeDriver, binding: Binding
) -> None:
    driver.hook = act_once_at("rename", lambda: driver.add_snapshot("volume-1", OLD))

    with pytest.raises(errors.SourceNotFound):
        driver.manage_snapshot(binding)

    assert list(names(driver)) == [OLD]
    assert binding.identity not in names(driver).values()


def test_object_removed_after_the_look_is_not_found(driver: FakeDriver, binding: Binding) -> None:
    driver.hook = act_once_at("rename", lambda: driver.remove(OLD))

    with pytest.raises(errors.SourceNotFound):
        driver.manage_snapshot(binding)


def test_object_that_is_gone_is_not_found_after_any_failure_of_the_rename(driver: FakeDriver, binding: Binding) -> None:
    def remove_and_fail() -> None:
        driver.remove(OLD)
        driver.add_snapshot("volume-1", NEW)
        raise errors.BackendBusy("locked")

    driver.hook = act_once_at("rename", remove_and_fail)

    with pytest.raises(errors.SourceNotFound):
        driver.manage_snapshot(binding)


def test_object_removed_right_after_the_rename_is_not_found(driver: FakeDriver, binding: Binding) -> None:
    driver.hook = act_once_at("renamed", lambda: driver.remove(NEW))

    with pytest.raises(errors.SourceNotFound):
        driver.manage_snapshot(binding)


def test_late_rename_of_a_stopped_worker_leaves_an_object_that_can_be_managed_again(
    driver: FakeDriver, binding: Binding
) -> None:
    def manage_and_unmanage() -> None:
        driver.manage_snapshot(binding)
        driver.unmanage_snapshot(binding)

    driver.hook = act_once_at("rename", manage_and_unmanage)

    driver.manage_snapshot(binding)

    again = driver.manage_snapshot(Binding(binding.identity, NEW, "snapshot-2"))
    assert names(driver) == {"snapshot-2": binding.identity} == {again.name: again.identity}


def test_name_taken_after_the_look_is_not_replaced(driver: FakeDriver, binding: Binding) -> None:
    driver.hook = act_once_at("rename", lambda: driver.add_snapshot("volume-1", NEW))

    with pytest.raises(errors.NameTaken):
        driver.manage_snapshot(binding)

    assert names(driver)[OLD] == binding.identity


def test_unmanage_succeeds_for_an_object_that_is_removed_meanwhile(driver: FakeDriver, binding: Binding) -> None:
    driver.manage_snapshot(binding)
    driver.hook = act_once_at("rename", lambda: driver.remove(NEW))

    driver.unmanage_snapshot(binding)

    assert names(driver) == {}


def test_object_that_was_never_renamed_is_unmanaged_though_it_is_in_use(driver: FakeDriver, binding: Binding) -> None:
    driver.mark(OLD, Unsafe.IN_USE)

    driver.unmanage_snapshot(Binding(binding.identity, OLD, OLD))

    assert names(driver) == {OLD: binding.identity}


def test_unusable_snapshot_is_not_managed_but_can_be_unmanaged(driver: FakeDriver, binding: Binding) -> None:
    driver.mark(OLD, Unsafe.UNUSABLE)
    with pytest.raises(errors.Unusable):
        driver.manage_snapshot(binding)
    driver.mark(OLD, None)
    driver.manage_snapshot(binding)
    driver.mark(NEW, Unsafe.UNUSABLE)

    driver.unmanage_snapshot(binding)

    assert names(driver) == {OLD: binding.identity}


def test_object_that_another_worker_renames_between_the_two_looks_is_found(
    driver: FakeDriver, binding: Binding
) -> None:
    names_one_by_one = OneByOne(driver, lambda: driver.manage_snapshot(binding))

    assert renaming.manage(names_one_by_one, binding).name == NEW


def test_unmanage_by_another_worker_between_the_two_looks_counts_as_done(driver: FakeDriver, binding: Binding) -> None:
    driver.manage_snapshot(binding)

    renaming.unmanage(OneByOne(driver, lambda: driver.unmanage_snapshot(binding)), binding)

    assert names(driver) == {OLD: binding.identity}


def test_rename_by_another_worker_at_the_same_time_counts_as_done(driver: FakeDriver, binding: Binding) -> None:
    late = OneByOne(driver, lambda: None)

    def fail_while_another_renames(old: str, new: str) -> None:
        late.between = lambda: driver.manage_snapshot(binding)
        raise errors.BackendBusy("another worker is at it")

    late.rename = fail_while_another_renames

    assert renaming.manage(late, binding).name == NEW
