"""Records that are unmanaged at once: volumes, and snapshots whose object was never found."""

from datetime import timedelta

import pytest

from snapmanage import errors
from snapmanage.core.outbox import Kind
from snapmanage.core.records import Requester, Status, Volume
from snapmanage.manage import removals, requests, settling, unmanaging
from snapmanage.manage.settling import Outcome
from snapmanage.store import outbox, quotas
from tests import examples
from tests.examples import PROJECT, REQUESTER, VOLUME_ID, new_id
from tests.functional.manage.operations.bench import DAILY, MONTHLY, WEEKLY, Bench, fields


def unmanage_volume(bench: Bench, volume: Volume | None = None) -> Volume:
    volume_id = volume.id if volume else VOLUME_ID
    return removals.unmanage_volume(bench.app, volume_id, REQUESTER)


def test_unmanaged_volume_is_gone_at_once(bench: Bench) -> None:
    removed = unmanage_volume(bench)

    assert (removed, removed.status) == (bench.volume(), Status.DELETED)
    assert bench.messages() == []
    with pytest.raises(errors.VolumeNotFound):
        bench.request()
    with pytest.raises(errors.VolumeNotFound):
        unmanage_volume(bench)


@pytest.mark.parametrize("requester", [Requester("another project"), REQUESTER], ids=["another project's", "unknown"])
def test_volume_that_the_project_does_not_have_can_not_be_unmanaged(bench: Bench, requester: Requester) -> None:
    volume_id = new_id() if requester is REQUESTER else VOLUME_ID

    with pytest.raises(errors.VolumeNotFound):
        removals.unmanage_volume(bench.app, volume_id, requester)


def test_administrator_unmanages_the_volume_of_another_project(bench: Bench) -> None:
    removed = removals.unmanage_volume(bench.app, VOLUME_ID, Requester("another project", "ann"), everywhere=True)

    assert (removed.requester.project_id, removed.requester.user_id) == (PROJECT, "ann")


def test_volume_with_snapshots_is_refused_with_their_number_and_three_ids(bench: Bench) -> None:
    creating = bench.request(DAILY)
    bench.clock.advance(seconds=1)
    managed = bench.manage_snapshot(WEEKLY)
    bench.clock.advance(seconds=1)
    failed = bench.request("nowhere")
    bench.fail_at_once(failed)
    bench.clock.advance(seconds=1)
    bench.request(MONTHLY)

    with pytest.raises(errors.InvalidState) as refused:
        unmanage_volume(bench)

    assert f"has 4 snapshots ({creating.id}, {managed.id}, {failed.id}, …)" in str(refused.value)
    assert bench.volume().status is Status.AVAILABLE


def test_refusal_names_no_snapshot_of_another_project(bench: Bench) -> None:
    other = examples.snapshot(DAILY, id=new_id(), requester=Requester("another project"))
    requests.request_snapshot(bench.app, other, everywhere=True)

    with pytest.raises(errors.InvalidState) as refused:
        unmanage_volume(bench)

    assert "has 1 snapshot; " in str(refused.value)


def test_volume_can_be_unmanaged_when_its_last_snapshot_is_a_tombstone(bench: Bench) -> None:
    failed = bench.request("nowhere")
    bench.fail_at_once(failed)
    unmanaging.unmanage(bench.app, failed.id, REQUESTER)

    assert unmanage_volume(bench).status is Status.DELETED


def test_unmanaged_object_can_be_registered_again(bench: Bench) -> None:
    bench.driver.add_volume("other", 1)
    first = bench.register_volume("other")
    bench.accept(first)
    bench.carry_out_due()
    with pytest.raises(errors.AlreadyManaged):
        bench.register_volume("other")
    unmanage_volume(bench, first)

    again = bench.register_volume("other")
    bench.accept(again)
    bench.carry_out_due()

    assert bench.volume(again.id).status is Status.AVAILABLE


def test_volume_whose_server_is_gone_is_unmanaged_with_its_cast(bench: Bench) -> None:
    requested = bench.register_volume("other")
    assert bench.message_names(Kind.CAST) == ["manage_volume"]
    bench.clock.advance(seconds=timedelta(days=40).total_seconds())

    unmanage_volume(bench, requested)

    assert bench.messages() == []
    with bench.db.read() as conn:
        assert outbox.waiting(conn) == 0


def test_late_cast_of_an_unmanaged_volume_starts_nothing(bench: Bench) -> None:
    requested = bench.register_volume("other")
    unmanage_volume(bench, requested)

    assert bench.accept(requested) == []

    assert bench.claim() == []
    assert bench.volume(requested.id).status is Status.DELETED


@pytest.mark.parametrize("found", [True, False])
def test_server_that_looks_up_an_unmanaged_volume_writes_nothing(bench: Bench, found: bool) -> None:
    if found:
        bench.driver.add_volume("other", 1)
    requested = bench.register_volume("other")
    bench.accept(requested)
    claimed = bench.claim_one()
    outcome = bench.carry_out_step(claimed)
    assert isinstance(outcome, Outcome)
    removed = unmanage_volume(bench, requested)

    assert settling.settle(bench.app, [outcome]) == []

    assert bench.volume(requested.id) == removed
    assert bench.user_messages() == []
    assert bench.register_volume("other").status is Status.CREATING


def test_unmanaged_volume_counts_for_no_quota(bench: Bench) -> None:
    failed = bench.register_volume("nowhere")
    bench.fail_at_once(failed)
    bench.db.write(lambda conn, _: quotas.change(conn, PROJECT, {"volumes": 1, "failed_records": 1}))
    with pytest.raises(errors.QuotaExceeded, match="failed_records"):
        bench.register_volume("other")
    unmanage_volume(bench, failed)
    first = bench.register_volume("other")
    with pytest.raises(errors.QuotaExceeded, match="volumes"):
        bench.register_volume("third")

    unmanage_volume(bench, first)

    assert bench.register_volume("third").status is Status.CREATING
    with bench.db.read() as conn:
        assert quotas.usage(conn, PROJECT).volumes == 1


def test_snapshot_that_was_never_found_is_unmanaged_without_its_server(bench: Bench) -> None:
    failed = bench.request("nowhere")
    bench.fail_at_once(failed)
    bench.clock.advance(seconds=timedelta(days=40).total_seconds())
    earlier = bench.message_names()

    removed = unmanaging.unmanage(bench.app, failed.id, REQUESTER)

    assert (removed, removed.status) == (bench.record(failed), Status.DELETED)
    assert bench.message_names()[len(earlier) :] == ["snapshot.unmanage.start", "snapshot.unmanage.end"]
    assert bench.message_names(Kind.CAST) == []


def test_snapshot_whose_object_may_be_renamed_waits_for_its_server(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)
    (resolved,) = bench.resolve(bench.claim_one())
    settling.settle(bench.app, [Outcome(resolved, error=errors.Unusable("it broke"))])
    bench.clock.advance(seconds=timedelta(days=40).total_seconds())

    with pytest.raises(errors.ServiceDown):
        unmanaging.unmanage(bench.app, requested.id, REQUESTER)

    assert fields(bench.record(requested), "status") == [Status.ERROR]


def test_worker_that_finds_the_object_of_an_unmanaged_snapshot_renames_nothing(bench: Bench) -> None:
    """The worker lost its claim, and another one has failed meanwhile."""
    requested = bench.request()
    bench.accept(requested)
    slow = bench.claim_one()
    bench.clock.advance(seconds=3600)
    settling.settle(bench.app, [Outcome(bench.claim_one("worker 2").record, error=errors.Unusable("it broke"))])
    unmanaging.unmanage(bench.app, requested.id, REQUESTER)

    assert bench.resolve(slow) == []

    assert bench.record(requested).status is Status.DELETED
