"""The identity of an object is checked right before its rename, in a report that is fresh enough."""

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Unsafe
from snapmanage.drivers.batch import NotTried
from snapmanage.drivers.lvm.renamer import GroupRenamer, Seen

DEADLINE_SECONDS = 60


class Group:
    """A group of one snapshot, whose clock moves only while a command runs, or by hand."""

    def __init__(self, report_seconds: float = 0.0) -> None:
        self.now = 1000.0
        self.report_seconds = report_seconds
        self.snapshots: dict[str, BackendSnapshot | errors.SnapmanageError] = {"daily": snapshot("one")}
        self.reports = 0
        self.failure: errors.SnapmanageError | None = None
        self.renames = 0
        self.renamer = GroupRenamer(self.look, self.rename, DEADLINE_SECONDS, lambda: self.now)
        self.renamer.look("daily", "mine")

    def look(self, *names: str) -> Seen:
        self.reports += 1
        self.now += self.report_seconds
        if self.failure:
            raise self.failure
        return {name: self.snapshots[name] for name in names if name in self.snapshots}

    def rename(self, old: str, new: str) -> None:
        self.renames += 1
        self.now += self.report_seconds
        if self.failure:
            raise self.failure


def snapshot(identity: str, unsafe: Unsafe | None = None) -> BackendSnapshot:
    return BackendSnapshot("daily", identity, 1, "volume", unsafe=unsafe, unsafe_reason="its device is open")


@pytest.mark.parametrize(
    ("report_seconds", "fresh_for"), [(0.001, 2), (0.1, 4), (1, 40), (30, 60)], ids=["least", "small", "large", "most"]
)
def test_report_is_fresh_in_proportion_to_its_cost(report_seconds: float, fresh_for: float) -> None:
    group = Group(report_seconds)
    begun = group.now - report_seconds

    group.now = begun + fresh_for - 0.01
    assert group.renamer.is_still("daily", "one")
    assert group.reports == 1

    group.now = begun + fresh_for + 0.01
    assert group.renamer.is_still("daily", "one")
    assert group.reports == 2


def test_object_that_lost_its_name_is_noticed_by_a_new_report() -> None:
    group = Group()
    group.snapshots["daily"] = snapshot("another")
    assert group.renamer.is_still("daily", "one")

    group.now += 2
    assert not group.renamer.is_still("daily", "one")

    group.snapshots.clear()
    group.now += 2
    assert not group.renamer.is_still("daily", "another")


def test_object_that_came_into_use_is_refused_after_a_new_report() -> None:
    group = Group()
    group.snapshots["daily"] = snapshot("one", Unsafe.IN_USE)
    group.now += 2

    with pytest.raises(errors.InUse):
        group.renamer.is_still("daily", "one")


def test_unusable_object_is_left_to_the_rules_of_renaming() -> None:
    group = Group()
    group.snapshots["daily"] = snapshot("one", Unsafe.UNUSABLE)
    group.now += 2

    assert group.renamer.is_still("daily", "one")


def test_unreadable_object_is_not_renamed() -> None:
    group = Group()
    group.snapshots["daily"] = errors.BackendError("unreadable")
    group.now += 2

    with pytest.raises(errors.BackendError, match="unreadable"):
        group.renamer.is_still("daily", "one")


def test_rest_of_a_batch_is_not_tried_after_a_lock_was_held_until_the_deadline() -> None:
    group = Group(report_seconds=DEADLINE_SECONDS)
    group.failure = errors.BackendBusy("locked")

    with pytest.raises(errors.BackendBusy):
        group.renamer.rename("daily", "mine")
    with pytest.raises(NotTried, match="locked"):
        group.renamer.rename("daily", "mine")
    group.now += 60
    with pytest.raises(NotTried, match="locked"):
        group.renamer.is_still("daily", "one")

    assert (group.renames, group.reports) == (1, 1)


def test_rest_of_a_batch_is_tried_where_lvm2_does_not_wait_for_the_lock() -> None:
    """With `global/wait_for_locks = 0`, a command fails at once, and the lock is free a moment later."""
    group = Group()
    group.failure = errors.BackendBusy("locked")

    for _ in range(3):
        with pytest.raises(errors.BackendBusy):
            group.renamer.rename("daily", "mine")

    assert group.renames == 3
