"""The end of each request of an upstream API is written with the report that it owes, on every database."""

from dataclasses import replace
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.records import Operation, Requester, Snapshot, Status
from snapmanage.core.upstream import Report, RequestKind
from snapmanage.manage import settling, unmanaging
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.manage.maintenance import upstream
from snapmanage.manage.settling import Outcome
from tests import examples
from tests.examples import REQUESTER, new_id
from tests.functional.manage.operations.bench import DAILY, DISK, WEEKLY, Bench

CINDER = "cinder"
AGAIN = Requester(REQUESTER.project_id, request_id="req-again")


@pytest.fixture
def bench(bench: Bench) -> Bench:
    bench.change_rules(report_upstream=True)
    return bench


def described(source: str = DAILY, **fields: Any) -> Snapshot:
    return examples.snapshot(source, **{"id": new_id(), "upstream": CINDER} | fields)


def request(snapshot: Snapshot, operation: Operation = Operation.MANAGE) -> OperationRequest:
    """Return the request of an upstream API."""
    if operation is Operation.UNMANAGE:
        return OperationRequest(Snapshot, snapshot.id, operation, requester=AGAIN, upstream=CINDER)
    return OperationRequest(
        Snapshot, snapshot.id, operation, snapshot, examples.available_volume(DISK), upstream=CINDER
    )


def owed(bench: Bench) -> list[tuple[str, RequestKind, str]]:
    return [(each.snapshot_id, each.request, each.status) for each in reports(bench)]


def reports(bench: Bench) -> list[Report]:
    return upstream.entries(bench.db)


def test_report_is_owed_once_the_snapshot_is_managed(bench: Bench) -> None:
    snapshot = described()
    bench.accept_requests(request(snapshot))
    assert owed(bench) == []

    bench.carry_out_due()

    assert owed(bench) == [(snapshot.id, RequestKind.MANAGE, "available")]


def test_failure_is_owed_with_its_settled_state(bench: Bench) -> None:
    snapshot = described("no-such-snapshot")
    bench.accept_requests(request(snapshot))

    bench.carry_out_due()

    assert owed(bench) == [(snapshot.id, RequestKind.MANAGE, "error")]


def test_attempt_that_fails_for_now_owes_nothing(bench: Bench) -> None:
    bench.accept_requests(request(described()))
    claimed = bench.claim_one()

    settling.settle(bench.app, [Outcome(claimed.record, error=errors.BackendUnavailable("away"))])

    assert owed(bench) == []


def test_exhausted_attempts_are_owed(bench: Bench) -> None:
    snapshot = described()
    bench.accept_requests(request(snapshot))
    for _ in range(bench.app.rules.retry.max_attempts):
        bench.claim()
        bench.clock.advance(hours=1)

    bench.claim()

    assert owed(bench) == [(snapshot.id, RequestKind.MANAGE, "error")]


def test_request_of_another_client_owes_nothing(bench: Bench) -> None:
    bench.manage_snapshot()

    assert owed(bench) == []


def test_nothing_is_owed_if_no_upstream_gets_reports(bench: Bench) -> None:
    bench.change_rules(report_upstream=False)
    snapshot = described()
    bench.accept_requests(request(snapshot))

    bench.carry_out_due()

    assert (owed(bench), bench.record(snapshot).upstream) == ([], CINDER)


def test_repeated_request_owes_nothing_more(bench: Bench) -> None:
    snapshot = described()
    bench.accept_requests(request(snapshot), request(snapshot))
    bench.carry_out_due()

    bench.accept_requests(request(snapshot))

    assert len(owed(bench)) == 1


def test_snapshot_that_another_client_managed_is_reported_once_the_upstream_requests_it(bench: Bench) -> None:
    snapshot = bench.manage_snapshot()

    bench.accept_requests(request(replace(snapshot, upstream=CINDER)))
    bench.accept_requests(request(replace(snapshot, upstream=CINDER)))

    assert owed(bench) == [(snapshot.id, RequestKind.MANAGE, "available")]
    assert bench.record(snapshot).upstream == CINDER


def test_request_under_way_of_another_client_is_reported_if_the_upstream_requests_it_too(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)

    bench.accept_requests(request(replace(requested, upstream=CINDER)))
    bench.carry_out_due()

    assert owed(bench) == [(requested.id, RequestKind.MANAGE, "available")]


def test_mark_survives_the_requests_of_other_clients(bench: Bench) -> None:
    snapshot = described()
    bench.accept_requests(request(snapshot))
    bench.carry_out_due()

    unmanaging.unmanage(bench.app, snapshot.id, AGAIN, everywhere=True)

    assert bench.record(snapshot).upstream == CINDER


def test_unmanage_is_reported_only_if_it_fails(bench: Bench) -> None:
    gone, kept = described(DAILY), described(WEEKLY)
    bench.accept_requests(request(gone), request(kept))
    bench.carry_out_due()
    upstream_took_all(bench)
    bench.accept_requests(request(gone, Operation.UNMANAGE), request(kept, Operation.UNMANAGE))
    claimed = {each.record.id: each for each in bench.claim()}

    settling.settle(bench.app, [Outcome(claimed[kept.id].record, error=errors.InUse("in use"))])
    bench.settle(claimed[gone.id])

    assert owed(bench) == [(kept.id, RequestKind.UNMANAGE, "error")]
    assert bench.record(gone).status is Status.DELETED
    assert [each.id for each in upstream.unmanaged(bench.db)] == [gone.id]


def upstream_took_all(bench: Bench) -> None:
    for each in reports(bench):
        upstream.drop(bench.db, each.id)


def test_outcomes_from_the_time_without_an_endpoint_can_be_reported_later(bench: Bench) -> None:
    bench.change_rules(report_upstream=False)
    managed, failed = described(), described("no-such-snapshot")
    bench.accept_requests(request(managed), request(failed))
    bench.carry_out_due()
    bench.manage_snapshot(WEEKLY)
    with pytest.raises(errors.ConfigurationError, match="endpoint is not set"):
        upstream.report_settled(bench.app)
    bench.change_rules(report_upstream=True)

    assert [upstream.report_settled(bench.app) for _ in range(2)] == [2, 2]

    assert {(each, status) for each, _, status in owed(bench)} == {(managed.id, "available"), (failed.id, "error")}
    assert len(owed(bench)) == 2


@pytest.mark.parametrize(
    "act", [lambda bench: upstream.drop(bench.db, "x"), lambda bench: upstream.retry(bench.db, ["x"])]
)
def test_unknown_report_is_refused(bench: Bench, act: Any) -> None:
    with pytest.raises(errors.NotFound, match="`upstream list` shows"):
        act(bench)
