"""A cast in the outbox outlives the deletion of the exchange, and arrives without a restart."""

from contextlib import closing
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.bus import Delivery
from snapmanage.bus.rabbit import rebinding
from snapmanage.relay import Relay
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import Database, connect
from snapmanage.testing.clock import FakeClock
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.examples import NOW, SERVER
from tests.functional.relay.helpers import cast, post, waiting
from tests.integration.rabbit.configured_bus import connected
from tests.integration.rabbit.queues import connector


@pytest.mark.parametrize("is_declared_again", [False, True], ids=["deleted", "deleted and declared again"])
def test_cast_in_the_outbox_arrives_after_the_exchange_was_deleted(
    broker: RabbitMQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_declared_again: bool
) -> None:
    monkeypatch.setattr(rebinding, "INTERVAL_SECONDS", 1.0)
    clock, received = FakeClock(NOW), list[Delivery]()
    with (
        connected(broker.url, tmp_path) as (bus, names),
        closing(Database(connect(f"sqlite:///{tmp_path}/snapmanage.db").engine, clock)) as database,
    ):
        schema.sync(database.engine)
        relay = Relay(database, bus, names)

        def send_due() -> bool:
            """Send like the relay's thread, a minute later each time; return whether the broker took the batch."""
            clock.advance(minutes=1)
            try:
                relay.send_due()
            except errors.Unavailable:
                return False
            return True

        consumer = bus.consume(names.server_queues(SERVER), received.extend)
        post(database, cast())
        until(lambda: send_due() and received, "the first cast")
        with connector(broker)(0) as connection:
            connection.channel().exchange_delete(names.exchange)
            if is_declared_again:
                connection.channel().exchange_declare(names.exchange, "topic", durable=True, auto_delete=False)
        (second,) = post(database, cast())

        until(lambda: send_due() and second.body["snapshot_id"].encode() in received[-1].body, "the second cast", 60)

        assert waiting(database) == 2  # until the server accepts them
        consumer.stop()
        consumer.join(20)
