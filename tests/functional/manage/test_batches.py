"""Batches of requests to manage snapshots, on every database: each request gets the outcome that it would get alone."""

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.core.idempotency import IdempotencyKey
from snapmanage.core.outbox import Message
from snapmanage.core.quotas import UNLIMITED, Limits
from snapmanage.core.records import Snapshot, Status, changed, owner_key
from snapmanage.core.services import Service
from snapmanage.core.values.location import Location
from snapmanage.manage import requests, snapshot_requests
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.snapshot_requests import Accepted, Outcome, SnapshotRequest
from snapmanage.store import outbox, ownership, records, services
from snapmanage.store.mapping import tables
from snapmanage.testing.clock import FakeClock
from tests import examples
from tests.examples import NOW, PROJECT, new_id
from tests.functional.databases import recorded_statements

TTL = timedelta(days=1)
THOUSAND = 1000
_numbers = count()


def wanted(
    source: str | None = None, /, key: str | None = None, chosen: bool = False, **fields: Any
) -> SnapshotRequest:
    """Return a request; its digest follows from its source."""
    name = source or f"source-{next(_numbers)}"
    used = key and IdempotencyKey.of(PROJECT, key, "manage snapshot", {"ref": name}, fields["id"] if chosen else None)
    return SnapshotRequest(examples.snapshot(name, **{"id": new_id()} | fields), used or None, chosen)


def send(app: Application, *batch: SnapshotRequest) -> list[Outcome]:
    return snapshot_requests.request_snapshots(app, batch)


def kinds(outcomes: Sequence[Outcome]) -> list[Any]:
    """Return True for a new snapshot, False for an earlier one, and the class of a refusal."""
    return [each.is_new if isinstance(each, Accepted) else type(each) for each in outcomes]


def ids(outcomes: Sequence[Outcome]) -> list[str]:
    return [each.snapshot.id for each in outcomes if isinstance(each, Accepted)]


def managed(app: Application) -> dict[str, str]:
    """Return the references of all snapshots by their ids."""
    with app.db.read() as conn:
        return {row.id: row.reference for row in conn.execute(sa.select(tables.snapshots))}


def cast_ids(app: Application) -> list[str]:
    """Return the ids of the records with a cast in the outbox."""
    with app.db.read() as conn:
        return sorted(conn.execute(sa.select(tables.outbox.c.record_id)).scalars())


def keys_kept(app: Application) -> int:
    with app.db.read() as conn:
        return int(conn.execute(sa.select(sa.func.count()).select_from(tables.idempotency_keys)).scalar_one())


# Many at once.


def test_thousand_requests_are_one_transaction_of_few_statements(app: Application) -> None:
    nudged: list[Message] = []
    nudging = replace(app, outbox_writer=OutboxWriter(nudged.extend))
    batch = [wanted(key=f"k/{number}", id=new_id(), chosen=True) for number in range(THOUSAND)]

    with recorded_statements(app.db.engine) as statements:
        outcomes = send(nudging, *batch)

    assert kinds(outcomes) == [True] * THOUSAND
    assert ids(outcomes) == [each.snapshot.id for each in batch] == [message.record_id for message in nudged]
    assert managed(app).keys() == set(ids(outcomes))
    assert cast_ids(app) == sorted(ids(outcomes))
    assert len(statements) < 50  # PyMySQL counts one statement for each part of the rows that it sends


def test_batch_takes_the_facts_of_its_volumes(app: Application) -> None:
    location = Location.parse("storage-1@fast#other")
    other = examples.available_volume("second", id=new_id(), size_gb=7, location=location)
    app.db.write(lambda conn, _: records.insert(conn, other))

    first, second = send(app, wanted(), wanted(volume_id=other.id))

    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert (first.snapshot.size_gb, str(first.snapshot.location)) == (3, examples.HOST)
    assert (second.snapshot.size_gb, second.snapshot.location) == (7, location)
    assert first.snapshot.created_at == NOW


# Refusals.


def test_refused_request_refuses_no_other(app: Application) -> None:
    [taken] = send(app, wanted("taken"))
    broken = examples.volume("broken", id=new_id(), status=Status.ERROR)
    away = examples.available_volume("away", id=new_id(), location=Location.parse("storage-2@away"))
    app.db.write(lambda conn, _: records.insert(conn, broken, away))

    outcomes = send(
        app,
        wanted(volume_id=new_id()),
        wanted("good"),
        wanted("taken"),
        wanted(volume_id=broken.id),
        wanted(volume_id=away.id),
        wanted("better"),
        wanted("good"),
    )

    assert kinds(outcomes) == [
        errors.VolumeNotFound,
        True,
        errors.AlreadyManaged,
        errors.InvalidState,
        errors.ServiceNotFound,
        True,
        errors.AlreadyManaged,
    ]
    assert managed(app).keys() == {*ids([taken]), *ids(outcomes)}


def test_refusal_has_the_text_of_a_single_request(app: Application) -> None:
    send(app, wanted("taken"))
    refused = [wanted("taken"), wanted(volume_id=examples.SNAPSHOT_ID)]

    alone = []
    for each in refused:
        with pytest.raises(errors.Invalid) as caught:
            requests.request_snapshot(app, each.snapshot)
        alone.append(str(caught.value))

    assert [str(each) for each in send(app, *refused)] == alone


def test_volume_of_another_project_is_unknown_unless_the_requester_may_act_everywhere(app: Application) -> None:
    foreign = replace(examples.REQUESTER, project_id="c" * 32)
    batch = [wanted(requester=foreign), wanted(requester=foreign)]

    assert kinds(send(app, *batch)) == [errors.VolumeNotFound] * 2
    assert kinds(snapshot_requests.request_snapshots(app, batch, everywhere=True)) == [True] * 2


def test_requests_are_accepted_in_their_order_until_the_quota_is_full(app: Application) -> None:
    small = examples.available_volume("small", id=new_id(), size_gb=1)
    app.db.write(lambda conn, _: records.insert(conn, small))
    limited = replace(app, rules=replace(app.rules, quota=Limits(UNLIMITED, 7)))
    send(limited, wanted("taken"))  # 3 GiB

    outcomes = send(
        limited, wanted("taken"), wanted(), wanted(), wanted(volume_id=small.id), wanted(volume_id=small.id)
    )

    assert kinds(outcomes) == [errors.AlreadyManaged, True, errors.QuotaExceeded, True, errors.QuotaExceeded]
    assert "6 of 7 are in use and 3 more requested" in str(outcomes[2])


def test_batch_of_a_project_with_too_many_failed_records_is_refused(app: Application) -> None:
    limited = replace(app, rules=replace(app.rules, quota=Limits(snapshots=5, failed_records=0)))

    outcomes = send(limited, wanted(), wanted())

    assert kinds(outcomes) == [errors.QuotaExceeded] * 2
    assert all("failed_records" in str(each) for each in outcomes)


def test_object_that_a_live_record_is_named_in_is_refused(app: Application) -> None:
    first = wanted(id=new_id(), chosen=True)
    [earlier] = ids(send(app, wanted()))

    outcomes = send(
        app, wanted(f"snapshot-{earlier}"), first, wanted(f"snapshot-{first.snapshot.id}"), wanted(f"x-{new_id()}")
    )

    assert kinds(outcomes) == [errors.AlreadyManaged, True, errors.AlreadyManaged, True]
    assert f"already managed as snapshot {first.snapshot.id}" in str(outcomes[2])


def test_one_object_of_two_servers_is_managed_once(app: Application) -> None:
    other = "storage-2@fast"
    for server in (examples.SERVER, other):
        beat = Service(server, "fake", NOW, storage="one")
        app.db.write(lambda conn, _, beat=beat: services.beat(conn, beat))  # type: ignore[misc]
    volumes = [
        examples.available_volume("shared", id=new_id(), location=Location.parse(server), backend_id="same")
        for server in (examples.SERVER, other)
    ]
    known = [changed(each, identity_key=owner_key(each.location.server, "same")) for each in volumes]
    app.db.write(lambda conn, _: records.insert(conn, *known))
    [earlier] = ids(send(app, wanted("one", volume_id=volumes[0].id)))

    outcomes = send(
        app,
        wanted("one", volume_id=volumes[1].id),
        wanted("two", volume_id=volumes[0].id),
        wanted("two", volume_id=volumes[1].id),
        wanted("two", volume_id=examples.VOLUME_ID),
    )

    assert kinds(outcomes) == [errors.AlreadyManaged, True, errors.AlreadyManaged, True]
    assert f"already managed as snapshot {earlier}" in str(outcomes[0])


# Idempotency keys.


def test_repeated_batch_gets_its_records_and_writes_nothing(app: Application, clock: FakeClock) -> None:
    batch = [wanted(f"keyed-{number}", key=f"k/{number}") for number in range(5)]
    first = send(app, *batch)
    clock.advance(seconds=1)

    again = send(app, *[replace(each, snapshot=changed(each.snapshot, id=new_id())) for each in batch])

    assert kinds(again) == [False] * 5
    assert ids(again) == ids(first)
    assert cast_ids(app) == sorted(ids(first))


def test_batch_of_which_a_part_was_sent_before_writes_the_rest(app: Application) -> None:
    batch = [wanted(f"keyed-{number}", key=f"k/{number}", id=new_id(), chosen=True) for number in range(6)]
    send(app, *batch[1:4])

    outcomes = send(app, *batch)

    assert kinds(outcomes) == [True, False, False, False, True, True]
    assert ids(outcomes) == [each.snapshot.id for each in batch]
    assert cast_ids(app) == sorted(ids(outcomes))


def test_entry_and_single_request_with_its_key_are_one_request(app: Application) -> None:
    entry = wanted("daily", key="k/0")
    [made] = ids(send(app, entry))

    assert requests.request_snapshot(app, changed(entry.snapshot, id=new_id()), key=entry.key).id == made


def test_key_that_is_twice_in_a_batch_makes_one_record(app: Application) -> None:
    outcomes = send(app, wanted("one", key="k"), wanted("one", key="k"), wanted("two", key="k"))

    assert kinds(outcomes) == [True, False, errors.KeyReused]
    assert len(set(ids(outcomes))) == 1
    assert keys_kept(app) == 1


def test_refused_request_keeps_no_key(app: Application) -> None:
    send(app, wanted("taken"))

    outcomes = send(app, wanted("taken", key="a"), wanted("free", key="b"), wanted("other", key="a"))

    assert kinds(outcomes) == [errors.AlreadyManaged, True, True]
    assert keys_kept(app) == 2
    assert kinds(send(app, wanted("taken", key="c"), wanted("taken", key="d"))) == [errors.AlreadyManaged] * 2
    assert keys_kept(app) == 2
    assert kinds(send(app, wanted("third", key="a"), wanted("more", key="c"))) == [errors.KeyReused, True]


def test_expired_key_can_be_used_anew(app: Application, clock: FakeClock) -> None:
    old = ids(send(app, wanted("one", key="a"), wanted("two", key="b")))
    clock.advance(days=1)
    always_up = replace(app, rules=replace(app.rules, service_down=timedelta(days=9)))

    outcomes = send(always_up, wanted("three", key="a"), wanted("two", key="b"))

    assert kinds(outcomes) == [True, errors.AlreadyManaged]
    assert ids(outcomes)[0] not in old
    assert kinds(send(always_up, wanted("three", key="a"), wanted("four", key="b"))) == [False, True]


def test_repeat_for_a_record_that_no_longer_exists_is_refused(app: Application) -> None:
    batch = [wanted("one", key="a"), wanted("two", key="b")]
    made = ids(send(app, *batch))
    app.db.write(lambda conn, _: conn.execute(tables.snapshots.delete().where(tables.snapshots.c.id == made[0])))

    outcomes = send(app, *batch, wanted("three"))

    assert kinds(outcomes) == [errors.NotFound, False, True]
    assert f"{made[0]} of this Idempotency-Key no longer exists" in str(outcomes[0])


def test_batch_deletes_expired_keys_of_others(app: Application, clock: FakeClock) -> None:
    send(app, *[wanted(key=f"old-{number}") for number in range(30)])
    clock.advance(days=1, seconds=1)
    always_up = replace(app, rules=replace(app.rules, service_down=timedelta(days=9)))

    send(always_up, *[wanted(key=f"new-{number}") for number in range(12)])

    assert keys_kept(app) == 12 + 30 - 2 * 12


# Chosen ids.


def test_id_of_any_record_that_is_or_was_is_refused(app: Application) -> None:
    [live, tombstone] = ids(send(app, wanted(), wanted()))
    deleted = tables.snapshots.update().where(tables.snapshots.c.id == tombstone)
    purged, audited = new_id(), new_id()
    event = {"number": 1, "event_id": new_id(), "event_type": "t", "snapshot_id": audited, "generation": 1}
    event |= {"content": "{}", "heard_at": NOW, "previous_digest": "0" * 64, "digest": "1" * 64}

    def prepare(conn: sa.Connection, _: Any) -> None:
        conn.execute(deleted.values(status="deleted", deleted_at=NOW, reference_key=None))
        conn.execute(tables.audit_snapshots.insert(), {"id": purged, "purged": "", "announced": 2})
        conn.execute(tables.audit.insert(), event)

    app.db.write(prepare)
    known = [live, tombstone, purged, audited, examples.VOLUME_ID]
    free = new_id()

    outcomes = send(app, *[wanted(id=each, chosen=True) for each in [*known, free, free]])

    assert kinds(outcomes) == [errors.IdInUse] * len(known) + [True, errors.IdInUse]
    assert f"The id {purged} is that of another record" in str(outcomes[2])
    for each in known:
        with pytest.raises(errors.IdInUse):
            requests.request_snapshot(app, examples.snapshot("single", id=each), id_chosen=True)
        with pytest.raises(errors.IdInUse):
            requests.register_volume(app, examples.volume("single", id=each), id_chosen=True)


def test_chosen_id_is_that_of_the_record(app: Application) -> None:
    snapshot_id, volume_id = new_id(), new_id()

    snapshot = requests.request_snapshot(app, examples.snapshot(id=snapshot_id), id_chosen=True)
    volume = requests.register_volume(app, examples.volume("another", id=volume_id), id_chosen=True)

    assert (snapshot.id, volume.id) == (snapshot_id, volume_id)
    assert cast_ids(app) == sorted([snapshot_id, volume_id])


def test_repeated_request_with_a_chosen_id_gets_its_record(app: Application) -> None:
    request = wanted("daily", key="k", id=new_id(), chosen=True)

    answers = [requests.request_snapshot(app, request.snapshot, key=request.key, id_chosen=True).id for _ in range(3)]

    assert answers == [request.snapshot.id] * 3
    assert cast_ids(app) == [request.snapshot.id]
    other = wanted("daily", key="k", id=new_id(), chosen=True)
    assert kinds(send(app, other)) == [errors.KeyReused]


def test_chosen_id_that_another_request_takes_meanwhile_is_refused_as_such(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    [taken] = ids(send(app, wanted("first")))
    read = records.ids_in_use
    answers = iter([set[str]()])
    monkeypatch.setattr(records, "ids_in_use", lambda conn, asked: next(answers, None) or read(conn, asked))

    assert kinds(send(app, wanted(id=taken, chosen=True))) == [errors.IdInUse]


# At the same time.


def test_reference_that_another_request_takes_meanwhile_is_refused_alone(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    [taken] = send(app, wanted("taken"))
    monkeypatch.setattr(ownership, "owners_of_references", lambda conn, keys: {})

    outcomes = send(app, wanted("one"), wanted("taken"), wanted("two"))

    assert kinds(outcomes) == [True, errors.AlreadyManaged, True]
    assert managed(app).keys() == {*ids([taken]), *ids(outcomes)}


@pytest.mark.parametrize("limits", [Limits(), Limits(snapshots=500)], ids=["no quota", "quota"])
@pytest.mark.parametrize("keyed", [True, False])
def test_overlapping_batches_at_once_do_nothing_twice(app: Application, limits: Limits, keyed: bool) -> None:
    """The threads send the same entries in other orders, each with an entry of its own that is refused."""
    limited = replace(app, rules=replace(app.rules, quota=limits))
    entries = [
        wanted(f"shared-{number}", key=f"k/{number}" if keyed else None, id=new_id(), chosen=True)
        for number in range(60)
    ]
    together = threading.Barrier(4, timeout=20)

    def act(number: int) -> list[Outcome]:
        own = entries[number * 10 :] + entries[: number * 10]
        together.wait()
        return send(limited, *(own if number % 2 else own[::-1]), wanted(volume_id=new_id()))

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(act, range(4)))

    seen = Counter(kind for outcomes in answers for kind in kinds(outcomes))
    expected = {True: 60, errors.VolumeNotFound: 4} | ({False: 180} if keyed else {errors.IdInUse: 180})
    assert seen == expected
    assert managed(app).keys() == {each.snapshot.id for each in entries}
    assert cast_ids(app) == sorted(managed(app))


def test_batches_and_single_requests_at_once_stay_within_the_quota(app: Application) -> None:
    limited = replace(app, rules=replace(app.rules, quota=Limits(snapshots=30)))
    together = threading.Barrier(4, timeout=20)

    def act(number: int) -> list[Outcome]:
        together.wait()
        if number % 2:
            return send(limited, *[wanted() for _ in range(20)])
        return [outcome for _ in range(20) for outcome in send(limited, wanted())]

    with ThreadPoolExecutor(4) as pool:
        outcomes = [each for found in pool.map(act, range(4)) for each in found]

    assert Counter(kinds(outcomes)) == {True: 30, errors.QuotaExceeded: 50}
    assert len(managed(app)) == 30


def test_thousand_casts_of_a_batch_wait_for_the_relay_of_their_process(app: Application) -> None:
    held = replace(app, outbox_writer=OutboxWriter(hold=timedelta(seconds=5)))

    send(held, *[wanted() for _ in range(THOUSAND)])

    with app.db.read() as conn:
        assert outbox.take(conn, NOW + timedelta(seconds=4), 10) == []
        assert len(outbox.take(conn, NOW + timedelta(seconds=5), 2 * THOUSAND)) == THOUSAND


def test_request_that_the_database_refuses_is_the_only_one_to_fail(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = records.insert

    def refuse_bad(conn: sa.Connection, *new: Snapshot) -> None:
        if any("bad" in each.reference.text for each in new):
            raise errors.AlreadyManaged("refused by the database")
        insert(conn, *new)

    monkeypatch.setattr(records, "insert", refuse_bad)

    outcomes = send(app, wanted("one"), wanted("bad"), wanted("two"))

    assert kinds(outcomes) == [True, errors.AlreadyManaged, True]
