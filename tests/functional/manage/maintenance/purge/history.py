"""Rows of the past, and purges of them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from snapmanage import errors
from snapmanage.bus import envelope
from snapmanage.core import lifecycle
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.maintenance.purge import Kind
from snapmanage.core.outbox import Message
from snapmanage.core.records import Record, Snapshot, Status
from snapmanage.core.services import Service
from snapmanage.manage import removals
from snapmanage.manage.application import Application
from snapmanage.manage.maintenance import purge
from snapmanage.manage.maintenance.purge import Plan, Result
from snapmanage.manage.transaction import Transaction
from snapmanage.store import outbox, quarantine, records, services, usermessages
from snapmanage.testing.clock import FakeClock
from tests import examples
from tests.examples import PROJECT, RETRY, SERVER, new_id

OLD = 41  # days
PLAN = Plan(timedelta(days=40))


def change(app: Application, *changes: Any) -> list[Message]:
    """Write changes with their user messages; return their events, which count as sent."""

    def work(tx: Transaction) -> list[Message]:
        tx.write_changes(changes, locked=True)
        outbox.forget(tx.conn, [message.id for message in tx.owed])
        return tx.owed

    return app.run(work)


def write(app: Application, record: Record) -> str:
    app.db.write(lambda conn, _: records.insert(conn, record))
    return record.id


def failed(app: Application, kind: Callable[..., Record] = examples.snapshot, **fields: Any) -> str:
    """Write a record that could not be managed, with its user message; return its id."""
    record = kind(id=new_id(), **fields)
    write(app, record)
    change(app, lifecycle.fail(record, errors.SourceNotFound("gone"), app.db.now(), RETRY))
    return record.id


def tombstone(app: Application, **fields: Any) -> str:
    """Write the tombstone of an unmanaged snapshot, and return its id."""
    snapshot = examples.snapshot(id=new_id(), status=Status.AVAILABLE, **fields)
    write(app, snapshot)
    unmanaging = lifecycle.unmanage(snapshot, examples.REQUESTER, app.db.now()).after
    change(app, lifecycle.succeed(unmanaging, None, app.db.now()))
    return snapshot.id


def tombstone_of_volume(app: Application, **fields: Any) -> str:
    """Register a volume that is available, and unmanage it; return its id."""
    volume_id = write(app, examples.available_volume(id=new_id(), **fields))
    removals.unmanage_volume(app, volume_id, examples.REQUESTER)
    return volume_id


def pass_days(app: Application, clock: FakeClock, days: float = OLD) -> None:
    """Let days pass; the server still runs then."""
    clock.advance(days=days)
    app.db.write(lambda conn, now: services.beat(conn, Service(SERVER, "fake", now)))


def purged(app: Application, *kinds: Kind, **plan: Any) -> dict[Kind, Result]:
    return {result.kind: result for result in purge.purge(app, kinds, replace(PLAN, **plan))}


def present(app: Application, *record_ids: str, kind: type[Record] = Snapshot) -> list[str]:
    """Return those of the ids that have a record or a tombstone."""
    with app.db.read() as conn:
        found = {record.id for record in records.get_many(conn, kind, record_ids)}
    return [record_id for record_id in record_ids if record_id in found]


def user_messages(app: Application) -> list[str]:
    """Return the ids of the records that user messages are about."""
    with app.db.read() as conn:
        return [message.resource_id for message in usermessages.list_page(conn, ListQuery(PROJECT, limit=1000))]


def quarantined_cast(app: Application, snapshot_id: str, event_id: str | None = None, name: str = "") -> None:
    """Quarantine a cast, or a message that contradicts the entry of `event_id` in the audit log."""
    body = envelope.request("manage_snapshot", {"snapshot_id": snapshot_id.upper(), "name": name}, {}, "x")
    app.db.write(lambda conn, now: quarantine.add(conn, SERVER, body, {}, "it killed its workers", now, event_id))
