"""A volume is unmanaged at the same moment at which a client or an upstream API requests a new snapshot of it.

Whoever is first, no snapshot has a record whose volume is gone, and no request is lost.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.core import lifecycle
from snapmanage.core import removals as rules
from snapmanage.core.records import Operation, Snapshot, Status, Volume
from snapmanage.manage import removals, unmanaging
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.store import quotas, records
from snapmanage.testing.waiting import until
from tests import examples
from tests.examples import NOW, REQUESTER, VOLUME_ID, new_id
from tests.functional.databases import ON_SERVERS
from tests.functional.manage.operations.bench import DAILY, DISK, MONTHLY, WEEKLY, Bench

ROUNDS = 20


def described(volume_id: str, source: str = DAILY, whole: bool = True) -> OperationRequest:
    """Return the request of an upstream API for a new snapshot; it describes the volume too, if `whole`."""
    record = examples.snapshot(source, id=new_id(), volume_id=volume_id)
    volume = examples.available_volume(DISK, id=volume_id) if whole else None
    return OperationRequest(Snapshot, record.id, Operation.MANAGE, record, volume)


def add_volume(bench: Bench) -> str:
    """Write an available volume, and return its id."""
    volume = examples.available_volume(id=new_id())
    bench.db.write(lambda conn, _: records.insert(conn, volume))
    return volume.id


def unmanage(bench: Bench, volume_id: str = VOLUME_ID) -> bool:
    """Return whether the volume was unmanaged; otherwise it has a snapshot."""
    try:
        removals.unmanage_volume(bench.app, volume_id, REQUESTER)
    except errors.InvalidState:
        return False
    return True


def manage(bench: Bench, volume_id: str = VOLUME_ID) -> bool:
    """Return whether a snapshot was requested; otherwise its volume is gone."""
    try:
        bench.request(f"daily of {volume_id}", volume_id=volume_id)
    except errors.VolumeNotFound:
        return False
    return True


def live(bench: Bench, volume_id: str) -> list[str]:
    with bench.db.read() as conn:
        return records.oldest_of_volume(conn, volume_id, None, 10)


def is_consistent(bench: Bench, volume_id: str) -> bool:
    """Return whether the volume lives, or has no snapshot that does."""
    return bench.volume(volume_id).deleted_at is None or live(bench, volume_id) == []


def note_statements(bench: Bench, part: str) -> list[str]:
    """Return a list that grows with each statement that begins and has a part of its text."""
    noted: list[str] = []

    @sa.event.listens_for(bench.db.engine, "before_cursor_execute")
    def note(conn: sa.Connection, cursor: Any, statement: str, *more: Any) -> None:
        if part in statement:
            noted.append(statement)

    return noted


def wait_behind(bench: Bench, work: Callable[[], bool], first: Callable[[sa.Connection], object]) -> Future[bool]:
    """Do `first` in a transaction, begin `work` in another thread, and commit when `work` waits for a lock."""
    with ThreadPoolExecutor(1) as pool:
        with bench.db.engine.begin() as conn:
            first(conn)
            started = note_statements(bench, "volumes")
            result = pool.submit(work)
            until(lambda: started, "the other transaction to read the volume")
            with pytest.raises(TimeoutError):
                result.result(timeout=0.3)
        return result


def together(*works: Callable[[], Any]) -> list[Any]:
    """Return the results of functions that begin at the same moment, each in a thread."""
    barrier = Barrier(len(works))

    def begin(work: Callable[[], Any]) -> Any:
        barrier.wait(10)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(begin, works))


def remove(conn: sa.Connection, volume: Volume) -> None:
    """Write the tombstone of a volume, as an unmanage does that locks it first."""
    [locked] = records.lock_many(conn, Volume, [volume.id])
    change = rules.unmanage_volume(locked, REQUESTER, NOW)
    records.update(conn, [change], locked=True)


def test_request_or_unmanage_is_refused_if_both_come_at_the_same_time(bench: Bench) -> None:
    for _ in range(ROUNDS):
        volume_id = add_volume(bench)

        managed, unmanaged = together(partial(manage, bench, volume_id), partial(unmanage, bench, volume_id))

        assert managed is not unmanaged
        assert len(live(bench, volume_id)) == managed
        assert (bench.volume(volume_id).deleted_at is not None) == unmanaged


@pytest.mark.parametrize("whole", [True, False], ids=["with its volume", "alone"])
def test_cast_at_the_time_of_an_unmanage_is_accepted_and_its_volume_lives(bench: Bench, whole: bool) -> None:
    for _ in range(ROUNDS):
        volume_id = add_volume(bench)
        request = described(volume_id, f"daily of {volume_id}", whole)

        refused, _ = together(partial(bench.accept_requests, request), partial(unmanage, bench, volume_id))

        assert refused == []
        assert live(bench, volume_id) == [request.record_id]
        assert bench.volume(volume_id).status is Status.AVAILABLE


@ON_SERVERS
def test_unmanage_waits_for_a_request_that_has_read_the_volume(bench: Bench) -> None:
    snapshot = examples.snapshot(DAILY, id=new_id())

    def request(conn: sa.Connection) -> None:
        assert records.volume_for_request(conn, VOLUME_ID, snapshot.requester.project_id)
        records.insert(conn, lifecycle.request(snapshot))

    unmanaged = wait_behind(bench, lambda: unmanage(bench), request)

    assert unmanaged.result() is False
    assert live(bench, VOLUME_ID) == [snapshot.id]


@ON_SERVERS
def test_request_waits_for_an_unmanage_that_is_not_committed(bench: Bench) -> None:
    managed = wait_behind(bench, lambda: manage(bench), lambda conn: remove(conn, bench.volume()))

    assert managed.result() is False
    assert live(bench, VOLUME_ID) == []


@ON_SERVERS
def test_cast_waits_for_an_unmanage_that_is_not_committed(bench: Bench) -> None:
    request = described(VOLUME_ID, whole=False)

    accepted = wait_behind(
        bench, lambda: bench.accept_requests(request) == [], lambda conn: remove(conn, bench.volume())
    )

    assert accepted.result()
    assert (live(bench, VOLUME_ID), bench.volume().deleted_at) == ([request.record_id], None)


@ON_SERVERS
def test_requests_for_snapshots_of_one_volume_do_not_wait_for_each_other(bench: Bench) -> None:
    with bench.db.engine.begin() as conn:
        assert records.volume_for_request(conn, VOLUME_ID, REQUESTER.project_id)
        records.hold_many(conn, Volume, [VOLUME_ID])

        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(bench.request, WEEKLY).result(timeout=20).status is Status.CREATING
            assert pool.submit(bench.accept_requests, described(VOLUME_ID)).result(timeout=20) == []


@ON_SERVERS
def test_batch_that_removes_the_volume_of_its_new_snapshot_takes_no_shared_lock_first(bench: Bench) -> None:
    """Two such batches would hold shared locks of the volume, and wait for each other's end."""
    shared = note_statements(bench, "SHARE")

    refused = bench.accept_requests(described(VOLUME_ID), OperationRequest(Volume, VOLUME_ID, Operation.UNMANAGE))

    assert shared == []
    assert [each.request.record_id for each in refused] == [VOLUME_ID]
    assert bench.accept_requests(described(VOLUME_ID, WEEKLY)) == []
    assert len(shared) == 1


@ON_SERVERS
def test_request_delays_no_heartbeat(bench: Bench) -> None:
    with bench.db.engine.begin() as conn:
        assert records.volume_for_request(conn, VOLUME_ID, REQUESTER.project_id)

        with ThreadPoolExecutor(1) as pool:
            beat = pool.submit(
                bench.db.write, lambda conn, now: conn.execute(sa.text("UPDATE services SET driver='x'"))
            )
            assert beat.result(timeout=20).rowcount == 1


def test_servers_that_revive_one_volume_at_the_same_time_both_accept(bench: Bench) -> None:
    for number in range(ROUNDS):
        volume_id = add_volume(bench)
        assert unmanage(bench, volume_id)
        casts = [described(volume_id, f"{name} {number}") for name in (DAILY, WEEKLY, MONTHLY)]

        refused = together(*(partial(bench.accept_requests, cast) for cast in casts))

        assert refused == [[], [], []]
        assert sorted(live(bench, volume_id)) == sorted(cast.record_id for cast in casts)
        assert bench.volume(volume_id).status is Status.AVAILABLE


def test_new_cast_revives_the_volume_and_a_late_repeat_does_not(bench: Bench) -> None:
    volume_id = new_id()
    first = described(volume_id)
    bench.accept_requests(first)
    bench.carry_out_due()
    unmanaging.unmanage(bench.app, first.record_id, REQUESTER)
    bench.accept_requests(OperationRequest(Snapshot, first.record_id, Operation.UNMANAGE))
    bench.carry_out_due()
    assert unmanage(bench, volume_id)

    bench.accept_requests(first)
    assert bench.volume(volume_id).status is Status.DELETED

    second = described(volume_id)
    bench.accept_requests(first, second, first)
    bench.carry_out_due()

    assert live(bench, volume_id) == [second.record_id]
    assert bench.volume(volume_id).status is Status.AVAILABLE
    assert second.record
    assert bench.record(second.record).status is Status.AVAILABLE


def test_cast_that_names_a_registered_volume_only_revives_it(bench: Bench) -> None:
    assert unmanage(bench)
    bench.accept_requests(described(VOLUME_ID, whole=False))
    bench.carry_out_due()

    assert bench.volume().status is Status.AVAILABLE
    assert bench.request(WEEKLY).volume_id == VOLUME_ID


def test_volume_that_was_purged_while_a_cast_waits_is_written_anew(bench: Bench) -> None:
    assert unmanage(bench)
    request = described(VOLUME_ID)
    missing = records.missing

    def purge_behind(conn: sa.Connection, given: Any) -> Any:
        found = missing(conn, given)
        conn.execute(sa.text("DELETE FROM volumes"))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "missing", purge_behind)
        bench.accept_requests(request)

    assert bench.volume().status is Status.AVAILABLE
    assert is_consistent(bench, VOLUME_ID)


@pytest.mark.parametrize("registered_again", [False, True])
def test_revived_volume_owns_its_object_unless_another_volume_does(bench: Bench, registered_again: bool) -> None:
    bench.driver.add_volume("other", 1)
    bench.driver.add_snapshot("other", "daily")
    first = bench.register_volume("other")
    bench.accept(first)
    bench.carry_out_due()
    assert unmanage(bench, first.id)
    if registered_again:
        second = bench.register_volume("other")
        bench.accept(second)
        bench.carry_out_due()

    cast = described(first.id, "daily", whole=False)
    assert bench.accept_requests(cast) == []
    bench.carry_out_due()

    revived = bench.volume(first.id)
    assert revived.status is Status.AVAILABLE
    assert (revived.identity_key is None) == (revived.backend_id is None) == registered_again
    assert cast.record
    assert bench.record(cast.record).status is Status.AVAILABLE
    with bench.db.read() as conn:
        assert quotas.usage(conn, REQUESTER.project_id).volumes == 1
    with pytest.raises(errors.AlreadyManaged):
        bench.register_volume("other")


def test_volume_that_was_never_found_is_in_error_again_with_the_snapshot_of_a_cast(bench: Bench) -> None:
    requested = bench.register_volume("nowhere")
    assert unmanage(bench, requested.id)

    bench.accept_requests(described(requested.id, whole=False))

    assert bench.volume(requested.id).status is Status.ERROR
