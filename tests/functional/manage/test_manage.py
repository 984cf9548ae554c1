"""The use cases on every database, step by step."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Unsafe
from snapmanage.core.lists import manageable
from snapmanage.core.lists.inventory import Inventory
from snapmanage.core.lists.manageable import Page
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.outbox import Kind, Message
from snapmanage.core.quotas import UNLIMITED, Amount
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status, Volume
from snapmanage.core.reference import Reference
from snapmanage.core.services import Service
from snapmanage.core.usermessages import UserMessage
from snapmanage.core.values.location import UNPLACED, Location
from snapmanage.core.values.retry import Retry
from snapmanage.drivers.fake import FakeDriver
from snapmanage.manage import acceptance, claims, requests, settling
from snapmanage.manage.acceptance import OperationRequest, Refusal
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.claims import Claimed, WorkerId
from snapmanage.manage.rules import Rules
from snapmanage.manage.settling import Outcome, Resolution
from snapmanage.store import outbox, records, services, usermessages
from snapmanage.store.engine.database import Database
from snapmanage.testing.clock import FakeClock
from snapmanage.testing.waiting import until
from snapmanage.volume import steps
from tests import examples
from tests.examples import ASKED, LEASE, NOW, PROJECT, SERVER, new_id

DISK = "volume-1"
DAILY, WEEKLY, MONTHLY = (f"volume-1-snapshot-{number}" for number in (1, 2, 3))
RULES = Rules(LEASE, Retry(3, timedelta(seconds=1), timedelta(seconds=60)), timedelta(hours=1))

# On SQLite, transactions don't overlap.
ON_SERVERS = pytest.mark.parametrize("database", ["mariadb", "postgresql"], indirect=True)


@dataclass
class Bench:
    """An application with one fake backend, whose steps a test does one by one; `nudged` holds the relay's messages."""

    db: Database
    clock: FakeClock
    app: Application
    driver: FakeDriver = field(default_factory=FakeDriver)
    nudged: list[Message] = field(default_factory=list)

    def request(self, source: str = DAILY, **fields: Any) -> Snapshot:
        """Request a snapshot, and return it."""
        page = examples.snapshot(source, **{"id": new_id(), "location": UNPLACED} | fields)
        return requests.request_snapshot(self.app, page)

    def accept(self, *snapshots: Record, operation: Operation = Operation.MANAGE) -> Sequence[Refusal]:
        return self.accept_requests(*(OperationRequest(type(each), each.id, operation) for each in snapshots))

    def accept_requests(self, *received: OperationRequest) -> Sequence[Refusal]:
        """Accept requests for a worker that has no room."""
        return acceptance.accept(self.app, received, WorkerId(SERVER, "worker"), room=0).refused

    def claim(self, worker: str = "worker 1", limit: int = 10) -> list[Claimed]:
        return claims.claim(self.app, WorkerId(SERVER, worker), limit)

    def claim_one(self, worker: str = "worker 1") -> Claimed:
        (claimed,) = self.claim(worker)
        return claimed

    def drive(self, claimed: Claimed) -> Resolution | Outcome:
        """Do the driver's next step."""
        return steps.carry_out(self.driver, claimed, self.app.rules.name_template)

    def resolve(self, claimed: Claimed) -> list[Snapshot]:
        resolution = self.drive(claimed)
        assert isinstance(resolution, Resolution)
        return settling.resolve(self.app, [resolution])

    def answer_to(self, step: type[Resolution | Outcome]) -> Resolution | Outcome:
        """Return the driver's answer to the first or the second step of the only claim, which isn't written yet."""
        claimed = self.claim_one()
        if step is Outcome:
            (resolved,) = self.resolve(claimed)
            claimed = Claimed(resolved)
        return self.drive(claimed)

    def settle(self, *claimed: Claimed) -> list[Record]:
        outcomes = [self.drive(each) for each in claimed]
        return settling.settle(self.app, [each for each in outcomes if isinstance(each, Outcome)])

    def work(self) -> None:
        """Do all due operations, as a worker does."""
        while claimed := self.claim():
            for each in claimed:
                step = self.drive(each)
                if isinstance(step, Resolution):
                    for snapshot in settling.resolve(self.app, [step]):
                        self.settle(Claimed(snapshot, each.volume))
                else:
                    settling.settle(self.app, [step])

    def managed(self, source: str = DAILY, **fields: Any) -> Snapshot:
        requested = self.request(source, **fields)
        self.accept(requested)
        self.work()
        return self.kept(requested)

    def kept(self, record: Record) -> Snapshot:
        """Return the record as it is in the database now."""
        with self.db.read() as conn:
            found = records.get(conn, Snapshot, record.id, deleted=True)
        assert found is not None
        return found

    def owed(self, kind: Kind = Kind.NOTIFICATION) -> list[str]:
        """Return the names of the messages in the outbox, in the order of writing."""
        return [message.name for message in self.waiting() if message.kind is kind]

    def waiting(self) -> list[Message]:
        with self.db.read() as conn:
            taken = outbox.take(conn, self.clock.now + timedelta(days=1), 1000)
        return sorted((message for message, _ in taken), key=lambda each: each.body.get("generation", 0))

    def user_messages(self) -> list[UserMessage]:
        with self.db.read() as conn:
            return usermessages.list_page(conn, ListQuery(PROJECT))

    def rule(self, **rules: Any) -> None:
        self.app = replace(self.app, rules=replace(self.app.rules, **rules))


@pytest.fixture
def bench(database: Database, clock: FakeClock) -> Bench:
    made = Bench(database, clock, Application(database, OutboxWriter(), RULES))
    made.app = replace(made.app, outbox_writer=OutboxWriter(made.nudged.extend))
    database.write(lambda conn, now: services.beat(conn, Service(SERVER, "fake", now)))
    database.write(lambda conn, _: records.insert(conn, examples.available_volume(DISK)))
    return made


def fields(snapshot: Snapshot, *names: str) -> list[Any]:
    return [getattr(snapshot, name) for name in names]


# Request.


def test_request_is_written_with_its_cast_and_the_relay_is_nudged(bench: Bench) -> None:
    requested = bench.request(name="n", metadata={"k": "v"})

    assert bench.kept(requested) == requested
    assert fields(requested, "status", "location", "size_gb", "generation") == [
        Status.CREATING,
        examples.LOCATION,
        1,
        0,
    ]
    (cast,) = bench.waiting()
    assert (cast.name, cast.target, cast.body) == ("manage_snapshot", SERVER, {"snapshot_id": requested.id})
    assert bench.nudged == [cast]


def test_second_request_for_an_object_is_refused_at_once(bench: Bench) -> None:
    bench.request()

    with pytest.raises(errors.AlreadyManaged):
        bench.request()

    assert bench.owed(Kind.CAST) == ["manage_snapshot"]


def test_of_two_requests_at_the_same_time_one_is_refused(bench: Bench) -> None:
    def ask(_: int) -> Snapshot | None:
        try:
            return bench.request()
        except errors.AlreadyManaged:
            return None

    with ThreadPoolExecutor(2) as pool:
        requested = [snapshot for snapshot in pool.map(ask, range(2)) if snapshot]

    assert len(requested) == 1
    assert [cast.record_id for cast in bench.waiting()] == [requested[0].id]


@pytest.mark.parametrize(
    "volume_id_and_requester",
    [(new_id(), ASKED), (examples.VOLUME_ID, Requester("another project"))],
    ids=["unknown", "another project's"],
)
def test_volume_that_the_project_does_not_have_is_not_found(
    bench: Bench, volume_id_and_requester: tuple[str, Requester]
) -> None:
    volume_id, requester = volume_id_and_requester

    with pytest.raises(errors.VolumeNotFound, match=volume_id):
        bench.request(volume_id=volume_id, requester=requester)


def test_volume_that_is_not_available_yet_is_refused(bench: Bench) -> None:
    coming = requests.register_volume(bench.app, examples.volume("other", id=new_id()))

    with pytest.raises(errors.InvalidState, match="creating"):
        bench.request(volume_id=coming.id)


def test_request_to_a_server_without_heartbeats_is_refused(bench: Bench) -> None:
    bench.clock.advance(hours=1)

    with pytest.raises(errors.ServiceDown):
        bench.request()
    assert bench.waiting() == []


def test_request_to_an_unknown_server_is_refused(bench: Bench) -> None:
    with pytest.raises(errors.ServiceNotFound):
        requests.register_volume(bench.app, examples.volume(location=Location("storage-9", "fast")))


@pytest.mark.parametrize("limit", [Amount(2, UNLIMITED), Amount(UNLIMITED, 2)])
def test_quota_limits_owned_snapshots_and_freed_quota_can_be_used_again(bench: Bench, limit: Amount) -> None:
    bench.rule(quota=limit)
    bench.managed(DAILY)
    failing = bench.request("not there")

    with pytest.raises(errors.QuotaExceeded):
        bench.request(MONTHLY)
    bench.accept(failing)
    bench.work()

    assert bench.request(MONTHLY).status is Status.CREATING


def test_quota_holds_against_requests_at_the_same_time(bench: Bench) -> None:
    bench.rule(quota=Amount(2, UNLIMITED))

    def ask(number: int) -> bool:
        try:
            return bool(bench.request(f"snapshot-{number}"))
        except errors.QuotaExceeded:
            return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(ask, range(6))) == 2


# Accept.


def test_accepted_request_is_due_and_its_cast_is_deleted(bench: Bench) -> None:
    requested = bench.request()

    assert bench.accept(requested) == []

    assert bench.kept(requested).due_at == NOW
    assert bench.waiting() == []


def test_request_accepted_twice_is_claimed_once(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested, requested)
    bench.accept(requested)

    assert len(bench.claim()) == 1
    bench.accept(requested)
    assert bench.claim() == []


def test_request_that_is_not_accepted_is_not_claimed(bench: Bench) -> None:
    bench.request()

    assert bench.claim() == []


def test_accepted_requests_are_claimed_at_once_for_a_worker_with_room(bench: Bench) -> None:
    first, second, third = (bench.request(source) for source in (DAILY, WEEKLY, MONTHLY))
    asks = [OperationRequest(Snapshot, each.id, Operation.MANAGE) for each in (first, second, third)]
    accepted = acceptance.accept(bench.app, asks, WorkerId(SERVER, "worker 1"), room=2)

    assert accepted.projects_waiting == {PROJECT}
    assert [claimed.record.id for claimed in accepted.claimed] == [first.id, second.id]
    assert [claimed.record for claimed in accepted.claimed] == [bench.kept(each) for each in (first, second)]
    assert all(claimed.volume for claimed in accepted.claimed)
    assert [claimed.record.id for claimed in bench.claim("worker 2")] == [third.id]
    assert [message.name for message in bench.waiting()] == ["snapshot.manage.start"] * 3


def test_batch_that_the_database_refuses_is_accepted_in_parts_that_claim_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, refused, last = (bench.request(source) for source in (DAILY, WEEKLY, MONTHLY))
    lock_many = records.lock_many

    def refuse_one(conn: sa.Connection, kind: type[Record], ids: Sequence[str]) -> Sequence[Record]:
        if refused.id in ids:
            raise sa.exc.DataError("SELECT", None, ValueError("out of range"))
        return lock_many(conn, kind, ids)

    monkeypatch.setattr(records, "lock_many", refuse_one)
    batch = [OperationRequest(Snapshot, each.id, Operation.MANAGE) for each in (first, refused, last)]
    accepted = acceptance.accept(bench.app, batch, WorkerId(SERVER, "worker 1"), room=1)
    monkeypatch.undo()

    assert [refusal.request.record_id for refusal in accepted.refused] == [refused.id]
    assert (accepted.claimed, accepted.projects_waiting) == ([], {PROJECT})
    assert {claimed.record.id for claimed in bench.claim("worker 2")} == {first.id, last.id}


def test_request_for_an_unknown_record_is_refused_and_the_others_are_accepted(bench: Bench) -> None:
    requested = bench.request()
    unknown = OperationRequest(Snapshot, new_id(), Operation.MANAGE)

    refused = bench.accept_requests(unknown, OperationRequest(Snapshot, requested.id, Operation.MANAGE))
    assert [(refusal.request, type(refusal.error)) for refusal in refused] == [(unknown, errors.NotFound)]

    assert bench.kept(requested).due_at == NOW


def foreign(source: str = DAILY) -> OperationRequest:
    """Return a request of an upstream API that keeps its own records."""
    volume = examples.available_volume(DISK, id=new_id())
    record = examples.snapshot(source, id=new_id(), volume_id=volume.id)
    return OperationRequest(Snapshot, record.id, Operation.MANAGE, record, volume)


def test_whole_foreign_record_is_accepted_as_new(bench: Bench) -> None:
    ask = foreign()
    later = bench.clock.advance(seconds=5)

    assert bench.accept_requests(ask, ask) == []
    bench.accept_requests(ask)

    assert ask.record is not None
    kept = bench.kept(ask.record)
    assert fields(kept, "status", "created_at", "due_at") == [Status.CREATING, later, later]
    assert bench.claim_one().volume is not None


def test_foreign_request_for_a_managed_object_ends_in_error(bench: Bench) -> None:
    bench.rule(name_template="")
    bench.managed()
    ask = foreign()
    bench.accept_requests(ask)

    bench.work()

    assert ask.record is not None
    assert fields(bench.kept(ask.record), "status", "reason_code") == [Status.ERROR, "already_managed"]


def test_sender_with_its_own_records_can_unmanage_its_snapshot(bench: Bench) -> None:
    ask = foreign()
    bench.accept_requests(ask)
    bench.work()

    back = replace(ask, operation=Operation.UNMANAGE, record=None, volume=None, requester=Requester(PROJECT, "carol"))
    bench.accept_requests(back)
    bench.work()
    bench.accept_requests(back, ask)

    assert ask.record is not None
    assert bench.kept(ask.record).status is Status.DELETED
    assert bench.claim() == []
    assert [found.name for found in bench.driver.list_snapshots()].count(DAILY) == 1


def test_late_repeat_does_not_hide_a_later_request(bench: Bench) -> None:
    snapshot = bench.managed()
    requests.unmanage(bench.app, snapshot.id, ASKED)

    asks = [OperationRequest(Snapshot, snapshot.id, operation) for operation in (Operation.UNMANAGE, Operation.MANAGE)]
    bench.accept_requests(*asks)

    assert bench.kept(snapshot).due_at == NOW


# Claim.


def test_claim_starts_each_operation_once(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)

    claimed = bench.claim_one()

    assert claimed.record == bench.kept(requested)
    assert claimed.volume is not None
    assert fields(bench.kept(requested), "generation", "attempt", "claimed_by") == [1, 1, "worker 1"]
    assert bench.owed() == ["snapshot.manage.start"]
    assert bench.claim("worker 2") == []


def test_workers_at_the_same_time_claim_everything_once(bench: Bench) -> None:
    requested = [bench.request(f"snapshot-{number}") for number in range(12)]
    bench.accept(*requested)

    def claim(number: int) -> Sequence[Claimed]:
        return bench.claim(f"worker {number}", limit=5)

    with ThreadPoolExecutor(4) as pool:
        claimed = [each.record.id for batch in pool.map(claim, range(4)) for each in batch]
    claimed += [each.record.id for each in bench.claim("the last", limit=12)]

    assert sorted(claimed) == sorted(snapshot.id for snapshot in requested)
    assert bench.owed() == ["snapshot.manage.start"] * 12


def test_claim_takes_up_to_its_limit_and_volumes_first(bench: Bench) -> None:
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
    assert bench.owed() == ["snapshot.manage.start"]


def test_operation_that_kills_every_worker_ends_in_error(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)
    for _ in range(3):
        bench.claim_one()
        bench.clock.advance(seconds=60)

    assert bench.claim() == []

    assert fields(bench.kept(requested), "status", "reason_code") == [Status.ERROR, "attempts_exhausted"]
    assert bench.owed() == ["snapshot.manage.start", "snapshot.manage.error"]
    assert [message.resource_id for message in bench.user_messages()] == [requested.id]


# Resolve and settle.


def test_object_is_renamed_only_after_its_identity_was_written(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)

    (resolved,) = bench.resolve(bench.claim_one())

    assert resolved == bench.kept(requested)
    assert fields(resolved, "original_name", "backend_name") == [DAILY, f"snapshot-{requested.id}"]
    assert DAILY in [found.name for found in bench.driver.list_snapshots()]


def test_managed_snapshot_is_available_under_its_new_name(bench: Bench) -> None:
    snapshot = bench.managed()

    assert fields(snapshot, "status", "size_gb", "due_at", "claimed_by") == [Status.AVAILABLE, 1, None, None]
    assert [found.name for found in bench.driver.list_snapshots()].count(f"snapshot-{snapshot.id}") == 1
    assert bench.owed() == ["snapshot.manage.start", "snapshot.manage.end"]
    assert [message.body["generation"] for message in bench.waiting()] == [1, 2]


def test_events_are_posted_in_both_dialects_if_configured(bench: Bench) -> None:
    bench.rule(both_dialects=True)

    bench.managed()

    assert sorted(bench.owed()) == [
        "snapshot.manage.end",
        "snapshot.manage.start",
        "snapshot.manage_existing_snapshot.end",
        "snapshot.manage_existing_snapshot.start",
    ]


def test_driver_receives_the_name_of_the_volume(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    message: list[str | None] = []
    find = bench.driver.find_snapshot

    def finding(reference: Reference, volume: str | None = None) -> BackendSnapshot:
        message.append(volume)
        return find(reference, volume)

    monkeypatch.setattr(bench.driver, "find_snapshot", finding)

    bench.managed()

    assert message == ["volume-1"]


def test_nothing_is_renamed_without_a_name_template(bench: Bench) -> None:
    bench.rule(name_template="")

    snapshot = bench.managed()

    assert fields(snapshot, "backend_name", "original_name") == [DAILY, DAILY]


def test_of_two_references_to_one_object_the_second_ends_in_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend may know an object by more than one name."""
    find = bench.driver.find_snapshot
    monkeypatch.setattr(bench.driver, "find_snapshot", lambda *_: find(Reference.named(DAILY)))
    one, other, innocent = bench.request(DAILY), bench.request("alias"), bench.request(WEEKLY)
    bench.accept(one, other)
    claims = bench.claim()
    monkeypatch.undo()
    bench.accept(innocent)
    claims += bench.claim()
    found = find(Reference.named(DAILY))
    resolutions = [
        Resolution(each.record, found if each.record.id != innocent.id else find(each.record.reference), each.record.id)
        for each in claims
        if isinstance(each.record, Snapshot)
    ]

    resolved = settling.resolve(bench.app, resolutions)

    assert len(resolved) == 2
    assert innocent.id in {snapshot.id for snapshot in resolved}
    (refused,) = {one.id, other.id} - {snapshot.id for snapshot in resolved}
    settled = bench.kept(one if refused == one.id else other)
    assert fields(settled, "status", "reason_code", "reference_key") == [Status.ERROR, "already_managed", None]


@pytest.mark.parametrize(
    ("unsafe", "code"), [(Unsafe.IN_USE, "in_use"), (Unsafe.UNUSABLE, "unusable")], ids=["in use", "unusable"]
)
def test_snapshot_that_can_not_be_managed_ends_in_error_with_a_reason(bench: Bench, unsafe: Unsafe, code: str) -> None:
    bench.driver.mark(DAILY, unsafe, "mounted on /mnt")

    snapshot = bench.managed()

    assert fields(snapshot, "status", "reason_code", "attempt") == [Status.ERROR, code, 1]
    (message,) = bench.user_messages()
    assert "mounted on /mnt" in message.text
    assert (message.resource_id, message.request_id) == (snapshot.id, ASKED.request_id)
    assert bench.owed() == ["snapshot.manage.start", "snapshot.manage.error"]


def test_snapshot_of_another_volume_ends_in_error(bench: Bench) -> None:
    bench.driver.add_volume("other")
    bench.driver.add_snapshot("other", "foreign")

    assert bench.managed("foreign").reason_code == "wrong_volume"


def test_transient_failure_is_retried_after_a_delay(bench: Bench) -> None:
    bench.driver.go_away()
    snapshot = bench.managed()
    assert fields(snapshot, "status", "reason_code", "due_at") == [
        Status.CREATING,
        "backend_unavailable",
        NOW + timedelta(seconds=1),
    ]

    bench.driver.hook = lambda step: None
    bench.clock.advance(seconds=1)
    bench.work()

    assert fields(bench.kept(snapshot), "status", "attempt", "reason") == [Status.AVAILABLE, 2, None]
    assert bench.owed() == ["snapshot.manage.start", "snapshot.manage.end"]


def test_lasting_failure_ends_in_error_after_the_last_attempt(bench: Bench) -> None:
    bench.driver.go_away()
    snapshot = bench.managed()
    for _ in range(5):
        bench.clock.advance(minutes=1)
        bench.work()

    assert fields(bench.kept(snapshot), "status", "attempt", "reason_code") == [Status.ERROR, 3, "backend_unavailable"]
    assert bench.owed() == ["snapshot.manage.start", "snapshot.manage.error"]
    assert len(bench.user_messages()) == 1


def test_half_done_operation_is_finished_by_the_next_worker(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)
    (resolved,) = bench.resolve(bench.claim_one())
    bench.drive(Claimed(resolved))
    bench.clock.advance(seconds=60)

    bench.work()

    assert fields(bench.kept(requested), "status", "attempt") == [Status.AVAILABLE, 2]


def test_late_outcome_writes_nothing(bench: Bench) -> None:
    requested = bench.request()
    bench.accept(requested)
    late = bench.claim_one()
    bench.clock.advance(seconds=60)
    bench.work()
    before, owed = bench.kept(requested), bench.waiting()

    settled = settling.settle(bench.app, [Outcome(late.record, error=errors.SourceNotFound("I saw nothing"))])

    assert settled == []
    assert bench.kept(requested) == before
    assert bench.waiting() == owed
    assert bench.user_messages() == []


def test_late_outcome_does_not_stop_the_other_outcomes(bench: Bench) -> None:
    bench.accept(bench.request(DAILY), bench.request(WEEKLY))
    lost, held = (Outcome(each.record, error=errors.SourceNotFound("gone")) for each in bench.claim())
    claims.release(bench.app, [lost.record])

    settled = settling.settle(bench.app, [lost, held])

    assert [record.id for record in settled] == [held.record.id]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("step", [Resolution, Outcome])
def test_end_of_a_frozen_worker_s_session_is_not_taken_for_a_refusal_of_values(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: type[Resolution | Outcome]
) -> None:
    bench.rule(retry=Retry(1, timedelta(seconds=1), timedelta(seconds=1)))
    requested = bench.request()
    bench.accept(requested)
    answer = bench.answer_to(step)

    freeze_once(monkeypatch, bench.app.db)
    with pytest.raises(sa.exc.DBAPIError):
        written(bench, answer)

    assert bench.kept(requested).status is Status.CREATING
    assert len(written(bench, answer)) == 1


def written(bench: Bench, answer: Resolution | Outcome) -> Sequence[Record]:
    return (
        settling.resolve(bench.app, [answer])
        if isinstance(answer, Resolution)
        else settling.settle(bench.app, [answer])
    )


def freeze_once(monkeypatch: pytest.MonkeyPatch, db: Database) -> None:
    """Let the next writer stop within its transaction for longer than the database waits."""
    update = records.update

    def frozen(conn: sa.Connection, *arguments: Any) -> Any:
        monkeypatch.setattr(records, "update", update)
        conn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '10ms'")
        session = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        until(lambda: not has_session(db, session), "the database to end the session")
        return update(conn, *arguments)

    monkeypatch.setattr(records, "update", frozen)


def has_session(db: Database, number: int) -> bool:
    query = sa.text("SELECT count(*) FROM pg_stat_activity WHERE pid = :number")
    with db.read() as conn:
        return bool(conn.execute(query, {"number": number}).scalar_one())


@pytest.mark.parametrize("step", [Resolution, Outcome])
def test_operation_ends_in_error_if_the_database_refuses_its_values(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: type[Resolution | Outcome]
) -> None:
    requested = bench.request()
    bench.accept(requested)
    answer = bench.answer_to(step)
    update = records.update

    def refuse_once(conn: sa.Connection, *arguments: Any) -> Any:
        monkeypatch.setattr(records, "update", update)
        raise sa.exc.IntegrityError("UPDATE snapshots", {}, ValueError("it must not be null"))

    monkeypatch.setattr(records, "update", refuse_once)
    written(bench, answer)

    assert fields(bench.kept(requested), "reason_code", "claimed_by") == ["backend_error", None]


def test_released_record_can_be_claimed_at_once(bench: Bench) -> None:
    bench.accept(bench.request())
    claims.release(bench.app, [bench.claim_one().record])

    taken = bench.claim_one("worker 2")

    assert (taken.record.attempt, taken.record.claimed_by) == (1, "worker 2")
    assert bench.owed() == ["snapshot.manage.start"]


def test_reason_of_any_length_is_kept(bench: Bench) -> None:
    snapshot = bench.managed("\N{CAMERA}" * 100_000)

    assert snapshot.status is Status.ERROR
    assert len(bench.user_messages()) == 1


# Volumes.


def test_registered_volume_is_known_by_its_size_and_identity(bench: Bench) -> None:
    found = bench.driver.add_volume("other", 5 * 1024**3)
    requested = requests.register_volume(bench.app, examples.volume("other", id=new_id()))
    bench.accept(requested)

    bench.work()

    with bench.db.read() as conn:
        volume = records.get(conn, Volume, requested.id)
    assert volume is not None
    assert (volume.status, volume.size_gb, volume.backend_id) == (Status.AVAILABLE, 5, found.identity)
    assert bench.owed() == []


def test_volume_that_is_not_there_ends_in_error_with_a_message(bench: Bench) -> None:
    requested = requests.register_volume(bench.app, examples.volume("gone", id=new_id()))
    bench.accept(requested)

    bench.work()

    assert [(message.resource_type, message.resource_id) for message in bench.user_messages()] == [
        ("VOLUME", requested.id)
    ]


# Unmanage.


def test_unmanaged_snapshot_has_its_old_name_and_may_be_managed_again(bench: Bench) -> None:
    snapshot = bench.managed()

    requests.unmanage(bench.app, snapshot.id, ASKED)
    bench.accept(snapshot, operation=Operation.UNMANAGE)
    bench.work()

    assert fields(bench.kept(snapshot), "status", "reference_key") == [Status.DELETED, None]
    assert DAILY in [found.name for found in bench.driver.list_snapshots()]
    assert bench.owed()[2:] == ["snapshot.unmanage.start", "snapshot.unmanage.end"]
    assert bench.managed().status is Status.AVAILABLE


def test_unmanage_is_cast_with_the_id_of_its_own_request(bench: Bench) -> None:
    snapshot = bench.managed()

    requests.unmanage(bench.app, snapshot.id, Requester(PROJECT, "carol", "req-9"))

    (cast,) = (message for message in bench.waiting() if message.kind is Kind.CAST)
    assert (cast.name, cast.context["request_id"]) == ("unmanage_snapshot", "req-9")
    assert cast.body == {"snapshot_id": snapshot.id, "generation": bench.kept(snapshot).generation}


def unmanage_failed(bench: Bench) -> Snapshot:
    """Return a snapshot of an upstream API whose unmanage has failed."""
    snapshot = bench.managed()
    bench.accept_requests(asked_back(snapshot, "req-1"))
    (claimed,) = bench.claim()
    settling.settle(bench.app, [Outcome(claimed.record, error=errors.Unusable("it broke"))])
    return snapshot


def asked_back(snapshot: Snapshot, request_id: str, generation: int | None = None) -> OperationRequest:
    requester = Requester(PROJECT, "carol", request_id)
    return OperationRequest(Snapshot, snapshot.id, Operation.UNMANAGE, requester=requester, generation=generation)


@pytest.mark.parametrize("repeat_first", [False, True])
def test_upstream_can_unmanage_again_after_a_failure(bench: Bench, repeat_first: bool) -> None:
    snapshot = unmanage_failed(bench)
    repeat, again = asked_back(snapshot, "req-1"), asked_back(snapshot, "req-2")

    assert bench.accept_requests(repeat) == []
    assert bench.kept(snapshot).status is Status.ERROR
    assert bench.accept_requests(*([repeat, again] if repeat_first else [again, repeat])) == []

    assert fields(bench.kept(snapshot), "status", "requester")[1].request_id == "req-2"
    bench.work()
    assert bench.kept(snapshot).status is Status.DELETED
    assert DAILY in [found.name for found in bench.driver.list_snapshots()]


def test_late_cast_does_not_repeat_an_unmanage_that_has_failed(bench: Bench) -> None:
    snapshot = unmanage_failed(bench)
    late = asked_back(snapshot, "req-0", generation=bench.kept(snapshot).generation - 2)

    assert bench.accept_requests(late) == []

    assert bench.claim() == []
    assert bench.kept(snapshot).status is Status.ERROR


def test_late_cast_does_not_bring_back_an_unmanaged_snapshot(bench: Bench) -> None:
    snapshot = bench.managed()
    requests.unmanage(bench.app, snapshot.id, ASKED)
    bench.accept(snapshot, operation=Operation.UNMANAGE)
    bench.work()

    for operation in Operation:
        assert bench.accept(snapshot, operation=operation) == []
    whole = OperationRequest(Snapshot, snapshot.id, Operation.MANAGE, replace(snapshot, status=Status.CREATING))
    assert bench.accept_requests(whole) == []

    assert bench.claim() == []
    assert bench.kept(snapshot).status is Status.DELETED


@pytest.mark.parametrize("requester", [Requester("another project"), ASKED], ids=["another project's", "unknown"])
def test_snapshot_that_the_project_does_not_have_can_not_be_unmanaged(bench: Bench, requester: Requester) -> None:
    snapshot = bench.managed()
    snapshot_id = new_id() if requester is ASKED else snapshot.id

    with pytest.raises(errors.SnapshotNotFound):
        requests.unmanage(bench.app, snapshot_id, requester)


@ON_SERVERS
def test_of_two_requests_to_unmanage_one_snapshot_one_is_refused(bench: Bench) -> None:
    snapshot = bench.managed()
    waiting: list[str] = []

    @sa.event.listens_for(bench.db.engine, "before_cursor_execute")
    def note(conn: sa.Connection, cursor: Any, statement: str, *more: Any) -> None:
        if "UPDATE" in statement:
            waiting.append(statement)

    def unmanage(_: int) -> bool:
        try:
            requests.unmanage(bench.app, snapshot.id, ASKED)
        except errors.InvalidState:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        with bench.db.engine.begin() as another:
            records.lock_many(another, Snapshot, [snapshot.id])
            waiting.clear()
            both = pool.map(unmanage, range(2))
            until(lambda: len(waiting) == 2, "both to wait for the record")

        assert sorted(both) == [False, True]
    assert bench.owed(Kind.CAST) == ["unmanage_snapshot"]


def test_tombstone_is_not_found(bench: Bench) -> None:
    snapshot = bench.managed()
    requests.unmanage(bench.app, snapshot.id, ASKED)
    bench.accept(snapshot, operation=Operation.UNMANAGE)
    bench.work()

    with pytest.raises(errors.SnapshotNotFound):
        requests.unmanage(bench.app, snapshot.id, ASKED)


def test_snapshot_under_way_can_not_be_unmanaged(bench: Bench) -> None:
    with pytest.raises(errors.InvalidState):
        requests.unmanage(bench.app, bench.request().id, ASKED)


def renamed_and_failed(bench: Bench) -> Snapshot:
    """Return a snapshot in error whose object was renamed."""
    requested = bench.request()
    bench.accept(requested)
    claimed = bench.claim_one()
    (resolved,) = bench.resolve(claimed)
    bench.drive(Claimed(resolved, claimed.volume))
    settling.settle(bench.app, [Outcome(resolved, error=errors.Unusable("it broke"))])
    return requested


def test_object_of_a_failed_operation_gets_its_name_back(bench: Bench) -> None:
    failed = renamed_and_failed(bench)

    requests.unmanage(bench.app, failed.id, ASKED)

    assert bench.kept(failed).identity_key is not None
    bench.accept(failed, operation=Operation.UNMANAGE)
    bench.work()
    assert DAILY in [found.name for found in bench.driver.list_snapshots()]
    assert fields(bench.kept(failed), "status", "identity_key") == [Status.DELETED, None]


@pytest.mark.parametrize("over_the_bus", [False, True])
def test_object_that_another_record_owns_by_now_is_left_alone(bench: Bench, over_the_bus: bool) -> None:
    failed = renamed_and_failed(bench)
    bench.app = replace(bench.app, rules=replace(bench.app.rules, name_template=""))
    owner = bench.request(f"snapshot-{failed.id}")
    bench.accept(owner)
    bench.work()

    if not over_the_bus:
        requests.unmanage(bench.app, failed.id, ASKED)
    bench.accept(failed, operation=Operation.UNMANAGE)
    bench.work()

    assert bench.kept(failed).status is Status.DELETED
    assert bench.kept(owner).status is Status.AVAILABLE
    assert f"snapshot-{failed.id}" in [found.name for found in bench.driver.list_snapshots()]


def test_of_two_records_of_one_object_one_unmanages_it(bench: Bench) -> None:
    first = renamed_and_failed(bench)
    second = bench.request(f"snapshot-{first.id}")
    bench.accept(second)
    claimed = bench.claim_one()
    (resolved,) = bench.resolve(claimed)
    settling.settle(bench.app, [Outcome(resolved, error=errors.Unusable("it broke"))])

    assert (
        bench.accept_requests(*(OperationRequest(Snapshot, each.id, Operation.UNMANAGE) for each in (first, second)))
        == []
    )
    bench.work()

    assert [bench.kept(each).status for each in (first, second)] == [Status.DELETED] * 2
    assert DAILY in [found.name for found in bench.driver.list_snapshots()]


def test_snapshot_whose_unmanage_fails_stays_owned(bench: Bench) -> None:
    snapshot = bench.managed()
    bench.driver.mark(f"snapshot-{snapshot.id}", Unsafe.IN_USE)
    requests.unmanage(bench.app, snapshot.id, ASKED)
    bench.accept(snapshot, operation=Operation.UNMANAGE)

    bench.work()

    kept = bench.kept(snapshot)
    assert fields(kept, "status", "reason_code", "identity_key") == [Status.ERROR, "in_use", snapshot.identity_key]
    with pytest.raises(errors.AlreadyManaged):
        bench.request()


# List.


def test_listing_marks_managed_and_requested_snapshots(bench: Bench) -> None:
    managed, requested = bench.managed(DAILY), bench.request(WEEKLY)
    page = Page(sort=(("reference", "asc"),))

    entries = requests.list_manageable(bench.app, SERVER, Inventory(bench.driver.list_snapshots()), page)

    assert [(entry.reference.name(), entry.reason_not_safe) for entry in entries] == [
        (f"snapshot-{managed.id}", "already managed"),
        (WEEKLY, f"snapshot {requested.id} is managed under this reference"),
        (MONTHLY, None),
    ]
    assert isinstance(entries[0], manageable.Manageable)
    assert entries[0].snapshot_id == managed.id
