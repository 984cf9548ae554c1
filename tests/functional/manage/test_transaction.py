"""A use case's transaction: after a deadlock it runs again, with no message of the first attempt."""

from dataclasses import replace

import pytest
from sqlalchemy.exc import OperationalError

from snapmanage.core.outbox import Message, cast
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.transaction import Transaction
from snapmanage.store import outbox
from tests import examples


def test_deadlock_leaves_no_message_of_the_first_attempt(app: Application) -> None:
    nudged: list[Message] = []
    app = replace(app, outbox_writer=OutboxWriter(nudged.extend))
    attempts: list[Transaction] = []

    def work(tx: Transaction) -> str:
        attempts.append(tx)
        tx.post([cast(examples.snapshot())])
        if len(attempts) == 1:
            raise OperationalError("UPDATE", None, ValueError(1213, "Deadlock found"))
        return "result"

    assert app.run(work) == "result"
    assert [len(tx.owed) for tx in attempts] == [1, 1]
    assert [message.name for message in nudged] == ["manage_snapshot"]
    with app.db.read() as conn:
        assert outbox.waiting(conn) == 1


def test_failed_transaction_leaves_no_message_and_does_not_nudge_the_relay(app: Application) -> None:
    nudged: list[Message] = []
    app = replace(app, outbox_writer=OutboxWriter(nudged.extend))

    def work(tx: Transaction) -> None:
        tx.post([cast(examples.snapshot())])
        raise KeyError

    with pytest.raises(KeyError):
        app.run(work)

    assert nudged == []
    with app.db.read() as conn:
        assert outbox.waiting(conn) == 0
