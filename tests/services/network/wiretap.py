"""Another listener on the notification topic, with kombu alone, like the listener of another product."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kombu

from snapmanage.testing.services.process import unique


class Wiretap:
    """Copies of the messages that the exchange routes to `notifications.*`, in queues of their own."""

    def __init__(self, connection: kombu.Connection, queues: list[Any]) -> None:
        self._connection = connection
        self._queues = queues
        self._received: list[dict[str, Any]] = []

    def listen(self) -> list[dict[str, Any]]:
        """Return all notifications that have arrived."""
        for queue in self._queues:
            while (message := queue.get(no_ack=True)) is not None:
                envelope = json.loads(message.body)
                assert envelope["oslo.version"] == "2.0"
                assert message.content_type == "application/json"
                self._received.append(json.loads(envelope["oslo.message"]))
        return self._received

    def notifications_about(self, snapshot_id: str) -> list[dict[str, Any]]:
        """Return the notifications about one snapshot, each event once, in the order of their generations.

        A message may arrive twice, for example if a process needed more than `hold_seconds` to send and delete it.
        """
        about = [each for each in self.listen() if each["payload"].get("snapshot_id") == snapshot_id]
        distinct = {each["payload"]["event_id"]: each for each in about}
        return sorted(distinct.values(), key=lambda each: each["payload"]["generation"])


@contextmanager
def wiretap(amqp_url: str, exchange: str, topic: str = "notifications") -> Iterator[Wiretap]:
    """Bind additional queues to the topic's keys before the first message is published."""
    with kombu.Connection(amqp_url) as connection:
        channel = connection.channel()
        source = kombu.Exchange(exchange, "topic", durable=True)
        queues = [
            kombu.Queue(unique("tap"), source, routing_key=f"{topic}.{level}", exclusive=True)(channel)
            for level in ("info", "error")
        ]
        for queue in queues:
            queue.declare()
        yield Wiretap(connection, queues)
