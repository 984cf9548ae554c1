"""The queues of a broker as they are: nothing is declared, bound or consumed."""

from collections.abc import Iterable

import kombu
from amqp.exceptions import NotFound

from snapmanage.core.maintenance.health import QueueFacts


def inspect(connection: kombu.Connection, names: Iterable[str]) -> list[QueueFacts]:
    """Return the messages and consumers of queues; raise `ChannelError` if the broker refuses to report one."""
    return [_inspect(connection, name) for name in names]


def _inspect(connection: kombu.Connection, name: str) -> QueueFacts:
    try:
        with connection.channel() as channel:
            found = kombu.Queue(name)(channel).queue_declare(passive=True)
    except NotFound:
        return QueueFacts(name)
    return QueueFacts(name, found.message_count, found.consumer_count)
