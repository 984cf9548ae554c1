"""Batches of a driver that takes many at once: a lone operation goes at once, a backlog goes together."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from snapmanage.core.backend import Binding
from snapmanage.core.records import Operation, Requester
from snapmanage.drivers.batch import Asked, NotTried
from snapmanage.drivers.fake import FakeDriver
from snapmanage.drivers.progress import working_on
from snapmanage.manage.claims import Claimed
from snapmanage.manage.settling import Outcome
from snapmanage.testing.waiting import until
from snapmanage.volume import steps
from snapmanage.volume.driver_call import Limits
from snapmanage.volume.driver_pool import HUNG_POOLS, Answer, DriverPool
from tests import examples
from tests.examples import new_id


def find(project: str = examples.PROJECT) -> Claimed:
    """Return an operation whose next step finds its snapshot."""
    return Claimed(examples.snapshot(new_id(), id=new_id(), requester=Requester(project)))


def unmanage() -> Claimed:
    """Return an operation whose next step renames its snapshot back."""
    names = {"backend_id": new_id(), "backend_name": new_id(), "original_name": new_id()}
    return Claimed(examples.snapshot(id=new_id(), operation=Operation.UNMANAGE, **names))


class PausedDriver:
    """A driver whose calls wait until a test lets them end; `calls` holds their operations."""

    def __init__(self, limits: Limits) -> None:
        self.calls: list[Sequence[Claimed]] = []
        self.answers: list[Answer] = []
        self.pool = DriverPool("driver", limits, self._call, self.answers.append)
        self._ends: list[threading.Event] = []

    def _call(self, claimed: Sequence[Claimed]) -> list[Answer]:
        end = threading.Event()
        self._ends.append(end)
        self.calls.append(claimed)
        end.wait(60)
        return [Outcome(each.record) for each in claimed]

    def submit(self, *claimed: Claimed) -> None:
        self.pool.submit(claimed)

    def wait_for_calls(self, number: int) -> None:
        until(lambda: len(self.calls) == number, f"{number} calls to begin")

    def end(self, number: int) -> None:
        """Let the call with this number end."""
        self._ends[number].set()

    def close(self) -> None:
        self.pool.stop()
        for end in self._ends:
            end.set()


@pytest.fixture
def driver() -> Iterator[PausedDriver]:
    """Yield a driver that takes up to four of a kind, in one call of each kind at a time."""
    driver = PausedDriver(Limits(threads=2, calls_of_a_step=1, batch=4))
    yield driver
    driver.close()


def test_lone_operation_goes_at_once_and_those_after_it_go_together(driver: PausedDriver) -> None:
    first, *others = [find() for _ in range(4)]
    driver.submit(first)
    driver.wait_for_calls(1)
    driver.submit(*others)
    driver.end(0)
    driver.wait_for_calls(2)

    assert driver.calls == [[first], others]


def test_batch_has_no_more_operations_than_the_limit(driver: PausedDriver) -> None:
    driver.submit(*[find() for _ in range(9)])
    for call in range(3):
        driver.wait_for_calls(call + 1)
        driver.end(call)

    assert [len(call) for call in driver.calls] == [4, 4, 1]


def test_call_has_operations_of_one_kind_and_other_kinds_go_beside_it(driver: PausedDriver) -> None:
    finds, unmanages = [find(), find()], [unmanage(), unmanage()]
    driver.submit(finds[0], unmanages[0], finds[1], unmanages[1])
    driver.wait_for_calls(2)

    assert sorted(driver.calls, key=str) == sorted([finds, unmanages], key=str)


def test_projects_take_turns_in_a_batch(driver: PausedDriver) -> None:
    driver.submit(find())
    driver.wait_for_calls(1)
    many, late = [find("many") for _ in range(6)], find("late")
    driver.submit(*many, late)
    driver.end(0)
    driver.wait_for_calls(2)

    assert driver.calls[1] == [many[0], late, many[1], many[2]]


def test_operations_are_shared_among_the_calls_that_the_driver_takes_at_a_time() -> None:
    driver = PausedDriver(Limits(threads=2, calls_of_a_step=2, batch=100))
    driver.submit(*[find() for _ in range(10)])
    driver.wait_for_calls(2)

    assert [len(call) for call in driver.calls] == [5, 5]
    driver.close()


def test_batch_of_a_slow_driver_is_so_small_that_it_ends_in_time() -> None:
    driver = PausedDriver(Limits(threads=1, calls_of_a_step=1, batch=1000))
    driver.submit(*[find() for _ in range(1000)])
    driver.wait_for_calls(1)

    assert len(driver.calls[0]) == 30  # each is assumed to take a second
    driver.close()


def test_positions_fall_as_the_batch_moves_on() -> None:
    claimed, begun, moved = [unmanage() for _ in range(3)], threading.Event(), threading.Event()

    def work(batch: Sequence[Claimed]) -> list[Answer]:
        working_on(steps.entry(batch[0]))
        working_on(steps.entry(batch[1]))
        begun.set()
        moved.wait(60)
        return [Outcome(each.record) for each in batch]

    pool = DriverPool("driver", Limits(1, 1, batch=3), work, lambda answer: None)
    pool.submit(claimed)
    begun.wait(60)

    assert [pool.positions()[each.record.id] for each in claimed] == [(1, 3), (1, 3), (2, 3)]
    moved.set()
    until(lambda: not pool.positions(), "the end of the batch")
    pool.stop()


def test_only_the_operation_that_hangs_is_abandoned_and_the_others_are_carried_out() -> None:
    claimed, released, answers = [find() for _ in range(3)], threading.Event(), list[Answer]()

    def work(batch: Sequence[Claimed]) -> list[Answer]:
        for each in batch:
            working_on(steps.entry(each))
            if each is claimed[1]:
                released.wait(60)
        return [Outcome(each.record) for each in batch]

    pool = DriverPool("driver", Limits(1, 1, batch=3), work, answers.append)
    pool.submit(claimed)
    until(lambda: [position for position, _ in pool.positions().values()] == [1, 1, 2], "the second to hang")

    assert pool.abandon(0) == [claimed[1]]
    until(lambda: len(answers) == 2, "the answers of the others")
    assert [answer.record for answer in answers] == [claimed[0].record, claimed[2].record]
    released.set()
    pool.stop()


def test_operation_that_the_driver_has_not_tried_is_carried_out_by_a_further_call() -> None:
    claimed, sizes, answers = [find() for _ in range(3)], list[int](), list[Answer]()

    def work(batch: Sequence[Claimed]) -> list[Answer | None]:
        sizes.append(len(batch))
        return [Outcome(batch[0].record), *[None] * (len(batch) - 1)]

    pool = DriverPool("driver", Limits(1, 1, batch=3), work, answers.append)
    pool.submit(claimed)
    until(lambda: len(answers) == 3, "the answers of all")

    assert [answer.record for answer in answers] == [each.record for each in claimed]
    assert sizes == [3, 2, 1]
    pool.stop()


def test_all_operations_of_a_batch_are_abandoned_if_the_driver_hangs_before_the_first(driver: PausedDriver) -> None:
    claimed = [find() for _ in range(3)]
    driver.submit(*claimed)
    driver.wait_for_calls(1)

    assert driver.pool.abandon(0) == claimed


@pytest.mark.parametrize(
    "changes",
    [{"original_name": "new-folder/daily", "managed_name": "new-folder/managed"}, {"identity": "renewed"}],
    ids=["moved", "with-a-new-form-of-its-identity"],
)
def test_only_the_operation_of_a_hanging_object_is_abandoned_under_other_names_or_another_identity(
    changes: dict[str, str],
) -> None:
    claimed, begun, released = [unmanage() for _ in range(3)], threading.Event(), threading.Event()

    def work(batch: Sequence[Claimed]) -> list[Answer]:
        binding = steps.entry(batch[0])
        assert isinstance(binding, Binding)
        working_on(replace(binding, **changes))
        begun.set()
        released.wait(60)
        return [Outcome(each.record) for each in batch]

    pool = DriverPool("driver", Limits(1, 1, batch=3), work, lambda answer: None)
    pool.submit(claimed)
    begun.wait(60)

    assert pool.abandon(0) == [claimed[0]]
    pool.stop()
    released.set()


def test_idle_thread_carries_out_the_others_of_a_hanging_batch_if_too_many_threads_hang_for_another_one() -> None:
    threads, released, begun, answers = 2, threading.Event(), list[Claimed](), list[Answer]()
    hanging, other = [find() for _ in range(HUNG_POOLS * threads)], find()

    def work(batch: Sequence[Claimed]) -> list[Answer]:
        for each in batch:
            working_on(steps.entry(each))
            begun.append(each)
            if each in hanging:
                released.wait(60)
        return [Outcome(each.record) for each in batch]

    pool = DriverPool("driver", Limits(threads, 1, batch=2), work, answers.append)
    for batch in [*([each] for each in hanging[:-1]), [hanging[-1], other]]:
        pool.submit(batch)
        until(lambda batch=batch: batch[0] in begun, "the operation to hang")  # type: ignore[misc]
        assert pool.abandon(0) == [batch[0]]

    until(lambda: answers, "the answer of the other operation")
    assert answers == [Outcome(other.record)]
    pool.stop()
    released.set()


def test_batch_that_moves_on_is_not_abandoned_however_long_it_takes() -> None:
    claimed, begun, goes_on, released = [find() for _ in range(2)], *[threading.Event() for _ in range(3)]
    late = threading.Event()

    def work(batch: Sequence[Claimed]) -> list[Answer]:
        begun.set()
        goes_on.wait(60)
        working_on(steps.entry(batch[0]))
        late.set()
        released.wait(60)
        return [Outcome(each.record) for each in batch]

    pool = DriverPool("driver", Limits(1, 1, batch=2), work, lambda answer: None)
    pool.submit(claimed)
    begun.wait(60)
    started = time.monotonic()
    until(lambda: time.monotonic() - started > 0.1, "the call to be older than the limit")
    goes_on.set()
    late.wait(60)

    assert pool.abandon(time.monotonic() - started) == []
    pool.stop()
    released.set()


def test_operation_that_has_waited_longest_goes_first_whatever_its_kind() -> None:
    driver = PausedDriver(Limits(threads=1, calls_of_a_step=1, batch=4))
    driver.submit(find())
    driver.wait_for_calls(1)
    first, second = unmanage(), find()
    driver.submit(first, second)
    driver.end(0)
    driver.wait_for_calls(2)

    assert driver.calls[1] == [first]
    driver.close()


class SilentDriver(FakeDriver):
    """A driver that tries no entry of a batch."""

    def find_snapshots(self, asked: Sequence[Asked]) -> list[NotTried]:
        return [NotTried("the backend did not answer")] * len(asked)


def test_every_operation_fails_if_the_driver_has_tried_none() -> None:
    results = steps.carry_out(SilentDriver(), [find(), find()], "")

    assert [type(each.error) for each in results if isinstance(each, Outcome)] == [NotTried, NotTried]
