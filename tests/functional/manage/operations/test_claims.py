"""Claims: each due operation has one worker at a time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from snapmanage.core.records import Snapshot, Status, Volume
from snapmanage.manage import claims, requests
from snapmanage.manage.claims import Claimed
from tests import examples
from tests.examples import new_id
from tests.functional.manage.operations.bench import DAILY, WEEKLY, Bench, fields


def test_claim_starts_each_operation_once(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)

    claimed = bench.claim_one()

    assert claimed.record == bench.record(requested)
    assert claimed.volume is not None
    assert fields(bench.record(requested), "generation", "attempt", "claimed_by") == [1, 1, "worker 1"]
    assert bench.message_names() == ["snapshot.manage.start"]
    assert bench.claim("worker 2") == []


def test_concurrent_workers_claim_each_operation_once(bench: Bench) -> None:
    requested = [bench.request(f"snapshot-{number}") for number in range(12)]
    bench.accept(*requested)

    def claim(number: int) -> Sequence[Claimed]:
        return bench.claim(f"worker {number}", limit=5)

    with ThreadPoolExecutor(4) as pool:
        claimed = [each.record.id for batch in pool.map(claim, range(4)) for each in batch]
    claimed += [each.record.id for each in bench.claim("the last", limit=12)]

    assert sorted(claimed) == sorted(snapshot.id for snapshot in requested)
    assert bench.message_names() == ["snapshot.manage.start"] * 12


def test_claim_is_limited_and_takes_volumes_first(bench: Bench) -> None:
    snapshots = [bench.request(source) for source in (DAILY, WEEKLY)]
    volume = requests.register_volume(bench.app, examples.volume("other", id=new_id()))
    bench.accept(*snapshots)
    bench.accept(volume)

    claimed = bench.claim(limit=2)

    assert [type(each.record) for each in claimed] == [Volume, Snapshot]
    assert len(bench.claim()) == 1


def test_operation_with_a_renewed_lease_is_not_claimed_by_another_worker(bench: Bench) -> None:
    bench.accept(bench.request())
    held = bench.claim_one()
    bench.clock.advance(seconds=59)

    claims.renew(bench.app, [held.record])

    bench.clock.advance(seconds=59)
    assert bench.claim("worker 2") == []
    bench.clock.advance(seconds=1)
    assert len(bench.claim("worker 2")) == 1


def test_dead_worker_s_operation_is_claimed_again_without_a_second_start_event(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)
    bench.claim()
    bench.clock.advance(seconds=60)

    taken = bench.claim_one("worker 2")

    assert fields(taken.record, "attempt", "claimed_by", "claim_number") == [2, "worker 2", 2]  # type: ignore[arg-type]
    assert bench.message_names() == ["snapshot.manage.start"]


def test_operation_that_kills_every_worker_ends_in_error(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)
    for _ in range(3):
        bench.claim_one()
        bench.clock.advance(seconds=60)

    assert bench.claim() == []

    assert fields(bench.record(requested), "status", "reason_code") == [Status.ERROR, "attempts_exhausted"]
    assert bench.message_names() == ["snapshot.manage.start", "snapshot.manage.error"]
    assert [message.resource_id for message in bench.user_messages()] == [requested.id]


def test_released_record_can_be_claimed_at_once(bench: Bench) -> None:
    bench.accept(bench.request())
    claims.release(bench.app, [bench.claim_one().record])

    taken = bench.claim_one("worker 2")

    assert (taken.record.attempt, taken.record.claimed_by) == (1, "worker 2")
    assert bench.message_names() == ["snapshot.manage.start"]
