"""The reporter sends each report until the upstream has taken it, on every database."""

import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
from keystoneauth1.session import Session

from snapmanage.core.upstream import Answer, Report, RequestKind
from snapmanage.store import upstream as reports
from snapmanage.store.engine.database import Database
from snapmanage.testing.clock import FakeClock
from snapmanage.testing.waiting import until
from snapmanage.upstream.client import UpstreamClient, http_session
from snapmanage.upstream.reporter import Reporter
from tests.examples import NOW, new_id
from tests.services.upstream import Odd, SmallUpstream

A_WHILE = timedelta(minutes=2)


@pytest.fixture
def reporter(database: Database, client: UpstreamClient) -> Iterator[Reporter]:
    """Yield a reporter without its thread; a test sends the due reports itself."""
    made = Reporter(database, client, parallel=2, timeout_seconds=2)
    yield made
    made.stop()


def owe(
    database: Database, snapshot_id: str, status: str = "available", after: float = 0, kind: str = "manage"
) -> Report:
    """Write a report that is younger by `after` seconds than the others."""
    moment = NOW + timedelta(seconds=after)
    owed = Report(new_id(), snapshot_id, "project", RequestKind(kind), status, moment, NOW)
    database.write(lambda conn, _: reports.add(conn, [owed]))
    return owed


def waiting(database: Database) -> list[Report]:
    with database.read() as conn:
        return reports.all_of(conn)


def test_report_is_sent_once_and_forgotten(database: Database, reporter: Reporter, upstream: SmallUpstream) -> None:
    snapshot_id = new_id()
    upstream.statuses[snapshot_id] = "creating"
    owe(database, snapshot_id)

    reporter.send_due()
    reporter.send_due()

    assert upstream.statuses[snapshot_id] == "available"
    assert (len(upstream.requests), waiting(database)) == (1, [])


def test_report_written_twice_is_sent_once(database: Database, reporter: Reporter, upstream: SmallUpstream) -> None:
    owed = owe(database, new_id())

    database.write(lambda conn, _: reports.add(conn, [owed]))

    assert len(waiting(database)) == 1


def test_reports_of_one_snapshot_are_sent_in_their_order(
    database: Database, reporter: Reporter, upstream: SmallUpstream
) -> None:
    snapshot_id = new_id()
    upstream.statuses[snapshot_id] = "creating"
    owe(database, snapshot_id, "available", after=5)
    owe(database, snapshot_id, "error")

    while waiting(database):
        reporter.send_due()

    sent = [next(iter(body.values()))["status"] for _, body in upstream.actions]
    assert sent == ["error", "available", "available"]  # the second is refused as a first outcome, then reset
    assert upstream.statuses[snapshot_id] == "available"


def test_report_that_fails_delays_later_ones_of_its_snapshot_only(
    database: Database, reporter: Reporter, upstream: SmallUpstream
) -> None:
    failing, other = new_id(), new_id()
    upstream.statuses |= {failing: "creating", other: "creating"}
    first = owe(database, failing, "error")
    later = owe(database, failing, "available", after=5)
    upstream.odd = [Odd(500)]
    reporter.send_due()
    owe(database, other)

    reporter.send_due()

    assert upstream.statuses == {failing: "creating", other: "available"}
    assert [each.id for each in waiting(database)] == [first.id, later.id]


def test_report_is_retried_after_a_back_off(
    database: Database, reporter: Reporter, upstream: SmallUpstream, clock: FakeClock
) -> None:
    snapshot_id = new_id()
    upstream.statuses[snapshot_id] = "creating"
    owe(database, snapshot_id)
    upstream.odd = [Odd(500), Odd(500)]
    reporter.send_due()

    reporter.send_due()
    assert len(upstream.requests) == 1
    clock.advance(seconds=1)
    reporter.send_due()
    clock.advance(seconds=2)
    reporter.send_due()

    assert len(upstream.requests) == 3
    assert waiting(database) == []


def test_all_reports_wait_while_the_upstream_is_away(
    database: Database, reporter: Reporter, upstream: SmallUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        owe(database, new_id())
    upstream.odd = [Odd(503)] * 4

    pauses = [reporter.send_due() for _ in range(2)]

    assert pauses == [1.0, 2.0]
    assert len(upstream.requests) == 4  # two reports at once
    assert [each.levelname for each in caplog.records] == ["WARNING", "WARNING"]
    assert 'reason="HTTP 503: no text"' in caplog.messages[0]


def test_upstream_can_require_a_longer_pause(database: Database, reporter: Reporter, upstream: SmallUpstream) -> None:
    owe(database, new_id())
    upstream.odd = [Odd(429, headers={"Retry-After": "300"})]

    assert reporter.send_due() == 300.0

    [kept] = waiting(database)
    assert kept.due_at == NOW + timedelta(seconds=300)


def test_refused_report_is_quarantined_and_can_be_retried(
    database: Database, reporter: Reporter, upstream: SmallUpstream, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot_id = new_id()
    upstream.statuses[snapshot_id] = "creating"
    owe(database, snapshot_id)
    upstream.odd = [Odd(413, b'{"tooLarge": {"message": "not \\u001b that"}}')]
    reporter.send_due()
    clock.advance(minutes=2)
    reporter.send_due()

    [kept] = waiting(database)
    assert (kept.due_at, kept.reason) == (None, "HTTP 413: not \\x1b that")
    assert len(upstream.requests) == 1
    assert [each.levelname for each in caplog.records if each.levelno > logging.INFO] == ["ERROR"]
    assert database.write(lambda conn, now: reports.retry(conn, now)) == 1
    reporter.send_due()
    assert waiting(database) == []


def test_later_outcome_replaces_a_refused_one(database: Database, reporter: Reporter, upstream: SmallUpstream) -> None:
    snapshot_id = new_id()
    upstream.statuses[snapshot_id] = "creating"
    owe(database, snapshot_id, "error")
    upstream.odd = [Odd(413)]
    reporter.send_due()

    owe(database, snapshot_id, "available", after=5)
    reporter.send_due()

    assert upstream.statuses[snapshot_id] == "available"
    assert waiting(database) == []


def test_record_that_is_gone_upstream_is_logged_once(
    database: Database, reporter: Reporter, caplog: pytest.LogCaptureFixture
) -> None:
    owed = owe(database, new_id())

    reporter.send_due()
    reporter.send_due()

    [line] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert owed.snapshot_id in line.getMessage()
    assert waiting(database) == []


def test_report_of_a_killed_process_is_sent_after_its_lease(
    database: Database, reporter: Reporter, upstream: SmallUpstream, clock: FakeClock
) -> None:
    snapshot_id = new_id()
    upstream.statuses[snapshot_id] = "creating"
    owe(database, snapshot_id)
    database.write(lambda conn, now: reports.take(conn, now, now + A_WHILE, 10))

    reporter.send_due()
    assert upstream.requests == []
    clock.advance(minutes=2)
    reporter.send_due()

    assert upstream.statuses[snapshot_id] == "available"


def test_process_whose_lease_has_ended_does_not_postpone_the_report_of_another(database: Database) -> None:
    owe(database, new_id())
    [first] = database.write(lambda conn, now: reports.take(conn, now, now, 10))
    [_] = database.write(lambda conn, now: reports.take(conn, now, now + A_WHILE, 10))

    database.write(lambda conn, now: reports.postpone(conn, first, None, "too late"))

    [kept] = waiting(database)
    assert (kept.due_at, kept.reason) == (NOW + A_WHILE, None)


def test_two_processes_send_each_report_once(
    database: Database, upstream: SmallUpstream, client: UpstreamClient
) -> None:
    owed = [owe(database, new_id()).snapshot_id for _ in range(40)]
    upstream.statuses |= dict.fromkeys(owed, "creating")
    reporters = [Reporter(database, client, interval_seconds=0.01, parallel=3) for _ in range(2)]

    for each in reporters:
        each.start()
    until(lambda: not waiting(database), "all reports to be taken")
    for each in reporters:
        each.stop()

    assert sorted(snapshot_id for snapshot_id, _ in upstream.actions) == sorted(owed)


class FaultyClient(UpstreamClient):
    """A client with an error of its own for one snapshot."""

    faulty = ""

    def update(self, report: Report) -> Answer:
        if report.snapshot_id == self.faulty:
            raise RuntimeError("a fault")
        return super().update(report)


def test_unexpected_error_of_one_report_does_not_repeat_the_others(database: Database, upstream: SmallUpstream) -> None:
    faulty, other = new_id(), new_id()
    upstream.statuses |= {faulty: "creating", other: "creating"}
    first, _ = owe(database, faulty), owe(database, other)
    with http_session(2) as session:
        client = FaultyClient(upstream.endpoint, Session(session=session), False, 2.0)
        client.faulty = faulty
        made = Reporter(database, client)
        made.send_due()
        made.stop()

    [kept] = waiting(database)
    assert (kept.id, kept.reason) == (first.id, "RuntimeError: a fault")
    assert upstream.statuses[other] == "available"


def test_failing_database_does_not_end_the_thread(
    database: Database, upstream: SmallUpstream, client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot_id = new_id()
    upstream.statuses[snapshot_id] = "creating"
    made = Reporter(database, client, interval_seconds=0.01)
    write, failures = database.write, [RuntimeError("a fault")]
    monkeypatch.setattr(
        Database, "write", lambda self, work: (_ for _ in ()).throw(failures.pop()) if failures else write(work)
    )

    made.start()
    until(lambda: not failures, "the first query to fail")
    owe(database, snapshot_id)

    until(lambda: upstream.statuses[snapshot_id] == "available", "the report to be taken")
    made.stop()
