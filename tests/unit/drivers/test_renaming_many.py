"""Renames of many objects at once: one look serves all, and one object's trouble is its own."""

from collections.abc import Sequence

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe
from snapmanage.drivers import renaming
from snapmanage.drivers.batch import NotTried
from snapmanage.drivers.fake import FakeDriver
from snapmanage.drivers.progress import Progress, reported
from snapmanage.drivers.renaming import Move

Result = BackendSnapshot | errors.SnapmanageError


class Killed(BaseException):
    """Stands for the death of a worker; snapmanage never catches it."""


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver(fake_volumes=1, fake_snapshots=5)


@pytest.fixture
def bindings(driver: FakeDriver) -> list[Binding]:
    return [Binding(found.identity, found.name, f"managed-{found.name}") for found in driver.list_snapshots()]


def identities(driver: FakeDriver) -> dict[str, str]:
    return {found.name: found.identity for found in driver.list_snapshots()}


def names(results: list[Result]) -> list[str | type]:
    """Return the name of each snapshot, and the type of each error."""
    return [each.name if isinstance(each, BackendSnapshot) else type(each) for each in results]


def steps_of(driver: FakeDriver) -> list[str]:
    """Return a list to which the driver adds its steps."""
    steps = list[str]()
    driver.hook = steps.append
    return steps


def test_two_looks_serve_a_batch(driver: FakeDriver, bindings: list[Binding]) -> None:
    steps = steps_of(driver)

    managed = renaming.manage_many(driver, bindings)

    assert names(managed) == [each.managed_name for each in bindings]
    assert steps == ["look", *["rename", "renamed"] * 5, "look"]


def test_batch_without_a_rename_needs_one_look(driver: FakeDriver, bindings: list[Binding]) -> None:
    renaming.manage_many(driver, bindings)
    steps = steps_of(driver)

    assert names(renaming.manage_many(driver, bindings)) == [each.managed_name for each in bindings]
    assert steps == ["look"]


def test_trouble_of_one_object_changes_no_other(driver: FakeDriver, bindings: list[Binding]) -> None:
    gone, in_use, other, taken, good = bindings
    driver.remove(gone.original_name)
    driver.mark(in_use.original_name, Unsafe.IN_USE)
    other = Binding("another", other.original_name, other.managed_name)
    driver.add_snapshot("volume-1", taken.managed_name)
    before = identities(driver)

    results = renaming.manage_many(driver, [gone, in_use, other, taken, good])

    refused = [errors.SourceNotFound, errors.InUse, errors.SourceNotFound, errors.NameTaken]
    assert names(results) == [*refused, good.managed_name]
    assert set(identities(driver).items()) - set(before.items()) == {(good.managed_name, good.identity)}


def test_name_that_an_earlier_object_of_the_batch_gives_up_is_free_for_the_next(
    driver: FakeDriver, bindings: list[Binding]
) -> None:
    first, second = bindings[:2]
    follower = Binding(second.identity, second.original_name, first.original_name)

    results = renaming.manage_many(driver, [first, follower])

    assert names(results) == [first.managed_name, first.original_name]
    assert identities(driver)[first.original_name] == second.identity


def test_same_object_twice_in_a_batch_is_renamed_once(driver: FakeDriver, bindings: list[Binding]) -> None:
    steps = steps_of(driver)

    first, second = renaming.manage_many(driver, [bindings[0], bindings[0]])

    assert first == second
    assert steps.count("rename") == 1


@pytest.mark.parametrize("step", ["rename", "renamed"])
def test_next_batch_completes_that_of_a_worker_that_died_in_the_middle(
    driver: FakeDriver, bindings: list[Binding], step: str
) -> None:
    before = identities(driver)
    reached = list[str]()

    def die_at_the_third(now: str) -> None:
        reached.append(now)
        if reached.count(step) == 3:
            raise Killed

    driver.hook = die_at_the_third
    with pytest.raises(Killed):
        renaming.manage_many(driver, bindings)
    driver.come_back()

    assert names(renaming.manage_many(driver, bindings)) == [each.managed_name for each in bindings]
    assert renaming.unmanage_many(driver, bindings) == [True] * 5
    assert identities(driver) == before


def test_batches_of_two_workers_that_overlap_rename_each_object_once(
    driver: FakeDriver, bindings: list[Binding]
) -> None:
    steps = list[str]()

    def interfere(step: str) -> None:
        steps.append(step)
        if steps == ["look", "rename"]:
            renaming.manage_many(driver, bindings)

    driver.hook = interfere

    assert names(renaming.manage_many(driver, bindings)) == [each.managed_name for each in bindings]
    assert steps.count("renamed") == len(bindings)


def test_object_that_took_an_old_name_after_the_look_gets_it_back(driver: FakeDriver, bindings: list[Binding]) -> None:
    steps = list[str]()

    def replace_the_last(step: str) -> None:
        steps.append(step)
        if steps == ["look", "rename"]:
            driver.add_snapshot("volume-1", bindings[-1].original_name)

    driver.hook = replace_the_last

    results = renaming.manage_many(driver, bindings)

    assert names(results)[-1] is errors.SourceNotFound
    assert bindings[-1].original_name in identities(driver)
    assert names(results)[:-1] == [each.managed_name for each in bindings[:-1]]


class Checking:
    """A renamer that can check an identity at little cost; `replaced` are the names that have new objects."""

    def __init__(self, driver: FakeDriver, replaced: set[str]) -> None:
        self.look = driver.look
        self.rename = driver.rename
        self.replaced = replaced

    def is_still(self, name: str, identity: str) -> bool:
        return name not in self.replaced


class CheckingInOneCall:
    """A renamer that checks an identity in the call that renames."""

    def __init__(self, driver: FakeDriver, replaced: set[str]) -> None:
        self.look = driver.look
        self.rename = driver.rename
        self.replaced = replaced

    def rename_if_still(self, old: str, new: str, identity: str) -> None:
        if old in self.replaced:
            raise errors.SourceNotFound("another object has the name")
        self.rename(old, new)


@pytest.mark.parametrize("renamer", [Checking, CheckingInOneCall])
def test_object_that_is_another_one_by_now_is_not_renamed(
    renamer: type[Checking] | type[CheckingInOneCall], driver: FakeDriver, bindings: list[Binding]
) -> None:
    steps = steps_of(driver)

    def take_the_second(step: str) -> None:
        steps.append(step)
        if steps == ["look"]:
            driver.add_snapshot("volume-1", bindings[1].original_name)

    driver.hook = take_the_second

    results = renaming.manage_many(renamer(driver, {bindings[1].original_name}), bindings[:2])

    assert names(results) == [bindings[0].managed_name, errors.SourceNotFound]
    assert steps.count("rename") == 1


class PartlyUnreadable:
    """A renamer that can't read the object of one name."""

    def __init__(self, driver: FakeDriver, name: str) -> None:
        self._driver = driver
        self._name = name
        self.rename = driver.rename

    def look(self, *names: str) -> dict[str, Result]:
        found: dict[str, Result] = dict(self._driver.look(*names))
        return found | ({self._name: errors.BackendError("unreadable")} if self._name in names else {})


def test_unreadable_object_fails_alone(driver: FakeDriver, bindings: list[Binding]) -> None:
    results = renaming.manage_many(PartlyUnreadable(driver, bindings[0].original_name), bindings[:2])

    assert names(results) == [errors.BackendError, bindings[1].managed_name]


def test_backend_that_stops_to_answer_is_not_asked_for_each_of_the_rest(
    driver: FakeDriver, bindings: list[Binding]
) -> None:
    steps = list[str]()

    def stop_at_the_second(step: str) -> None:
        steps.append(step)
        if steps.count("rename") == 2:
            driver.hook = again
            raise errors.BackendUnavailable("no answer")

    again = steps.append
    driver.hook = stop_at_the_second

    results = renaming.manage_many(driver, bindings)

    assert names(results) == [bindings[0].managed_name, errors.BackendUnavailable, *[NotTried] * 3]
    assert steps.count("rename") == 2


def test_failure_of_the_second_look_is_no_attempt_of_an_object_that_was_not_tried(
    driver: FakeDriver, bindings: list[Binding]
) -> None:
    def go_away(step: str) -> None:
        if step == "rename":
            driver.go_away()
            raise errors.BackendUnavailable("no answer")

    driver.hook = go_away

    results = renaming.manage_many(driver, bindings)

    assert isinstance(results[0], errors.SnapmanageError)
    assert not isinstance(results[0], NotTried)
    assert names(results[1:]) == [NotTried] * (len(bindings) - 1)


def test_unmanage_of_many_tells_which_objects_are_there(driver: FakeDriver, bindings: list[Binding]) -> None:
    renaming.manage_many(driver, bindings[:3])
    driver.remove(bindings[0].managed_name)
    driver.mark(bindings[1].managed_name, Unsafe.IN_USE)

    gone, in_use, *there = renaming.unmanage_many(driver, bindings)

    assert (gone, there) == (False, [True] * 3)
    assert isinstance(in_use, errors.InUse)


def test_progress_of_a_batch_is_reported(driver: FakeDriver, bindings: list[Binding]) -> None:
    progress, seen = Progress(), list[tuple[int, object]]()
    driver.hook = lambda step: seen.append((progress.begun, progress.current)) if step == "rename" else None

    with reported(progress):
        renaming.manage_many(driver, bindings)

    assert seen == list(enumerate(bindings, 1))


class StepwiseDriver(FakeDriver):
    """A driver that renames many at once, except for `broken`."""

    broken = ""

    def rename_many(self, moves: Sequence[Move]) -> list[errors.SnapmanageError | None]:
        self.asked = [(each.old, each.new) for each in moves]
        return [self._failure(each) for each in moves]

    def _failure(self, move: Move) -> errors.SnapmanageError | None:
        if move.old == self.broken:
            return errors.BackendBusy("it is busy")
        self.rename(move.old, move.new)
        return None


def test_renamer_of_many_gets_the_moves_that_are_due_and_each_end_is_judged() -> None:
    driver = StepwiseDriver(fake_volumes=1, fake_snapshots=4)
    gone, first, broken, last = bindings = [
        Binding(found.identity, found.name, f"managed-{found.name}") for found in driver.list_snapshots()
    ]
    driver.remove(gone.original_name)
    driver.broken = broken.original_name

    results = renaming.manage_many(driver, bindings)

    assert names(results) == [errors.SourceNotFound, first.managed_name, errors.BackendBusy, last.managed_name]
    assert driver.asked == [(each.original_name, each.managed_name) for each in (first, broken, last)]


def test_look_after_the_renames_that_fails_replaces_no_refusal(driver: FakeDriver, bindings: list[Binding]) -> None:
    driver.mark(bindings[0].original_name, Unsafe.IN_USE)
    steps = list[str]()

    def fail_at_the_second_look(step: str) -> None:
        steps.append(step)
        if steps.count("look") == 2:
            raise errors.BackendUnavailable("the backend did not answer")

    driver.hook = fail_at_the_second_look

    assert names(renaming.manage_many(driver, bindings[:2])) == [errors.InUse, errors.BackendUnavailable]


def test_old_names_are_looked_at_before_the_new_ones_so_that_no_rename_between_hides_an_object(
    driver: FakeDriver, bindings: list[Binding], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = list[tuple[str, ...]](), driver.look

    def noted_look(*names: str) -> object:
        looks.append(names)
        return look(*names)

    monkeypatch.setattr(driver, "look", noted_look)

    renaming.manage_many(driver, bindings[:2])

    first, second = bindings[:2]
    assert looks == [(first.original_name, second.original_name, first.managed_name, second.managed_name)] * 2
