"""The declarations of exchange and queues, made so that the broker's limits lose no message.

Each queue has a dead-letter queue, which the same consumer consumes. Dead-lettering is at least once, and a full queue
refuses new messages, so that their publisher keeps them. This protection is in arguments of the queue: a policy may
lower a limit at any time, but can't remove arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import kombu

Version = tuple[int, ...]

# A prefix, so that a policy whose pattern is a topic's name does not match dead-letter queues.
DEAD_LETTERS = "dead-letters."
# Before this version, a limit of -1 drops each requeued message; from it on, -1 means no limit.
KNOWS_NO_LIMIT: Version = (4, 0)
DEAD_LETTERS_AT_LEAST_ONCE: Version = (3, 10)
_REFUSE_WHEN_FULL = {"x-overflow": "reject-publish"}


@dataclass(frozen=True)
class Topology:
    """Names and arguments, after the options of `[oslo_messaging_rabbit]`.

    A queue is identified by its routing key. `queue_names` has the names of queues that are not named like their key:
    snapmanage's own queues, bound to a key that other services use too.
    """

    exchange: str
    durable: bool = True
    auto_delete: bool = False
    queue_arguments: Mapping[str, Any] = field(default_factory=lambda: {"x-queue-type": "quorum"})
    queue_names: Mapping[str, str] = field(default_factory=dict)

    @property
    def queue_type(self) -> str:
        return str(self.queue_arguments.get("x-queue-type", "classic"))

    def declared_exchange(self) -> kombu.Exchange:
        return kombu.Exchange(self.exchange, "topic", durable=self.durable, auto_delete=self.auto_delete)

    def name(self, key: str) -> str:
        """Return the name of the queue of messages with routing key `key`."""
        return self.queue_names.get(key, key)

    def dead_letter_name(self, key: str) -> str:
        return DEAD_LETTERS + self.name(key)

    def queue(self, key: str, version: Version = ()) -> kombu.Queue:
        """Return the declaration of the queue for a broker of this version."""
        return self._queue(key, self._arguments(key, version))

    def variants(self, key: str, version: Version) -> list[kombu.Queue]:
        """Return the declarations that protect messages equally well, the preferred one first.

        The last one has no delivery limit, like a queue that was declared on an older broker.
        """
        arguments = self._arguments(key, version)
        without = {name: value for name, value in arguments.items() if value != -1}
        return [self._queue(key, each) for each in ([arguments] if without == arguments else [arguments, without])]

    def plain_queue(self, key: str) -> kombu.Queue:
        """Return the queue as oslo.messaging would declare it, without protection."""
        return self._queue(key, self.queue_arguments)

    def dead_letter_queue(self, key: str) -> kombu.Queue:
        """Return the declaration of the dead-letter queue.

        It is a classic queue: classic queues have no delivery limit, and no policy overrides their overflow argument.
        """
        arguments = {"x-queue-type": "classic"} | _REFUSE_WHEN_FULL
        return kombu.Queue(self.dead_letter_name(key), durable=True, auto_delete=False, queue_arguments=arguments)

    def _queue(self, key: str, arguments: Mapping[str, Any]) -> kombu.Queue:
        return kombu.Queue(
            self.name(key),
            self.declared_exchange(),
            routing_key=key,
            durable=self.durable,
            auto_delete=self.auto_delete,
            queue_arguments=dict(arguments),
        )

    def _arguments(self, key: str, version: Version) -> dict[str, Any]:
        given = dict(self.queue_arguments)
        ours: dict[str, Any] = {
            "x-dead-letter-exchange": "",  # the default exchange, which can't be deleted
            "x-dead-letter-routing-key": self.dead_letter_name(key),
        } | _REFUSE_WHEN_FULL
        if given.get("x-queue-type") == "quorum":
            if version >= DEAD_LETTERS_AT_LEAST_ONCE:
                ours["x-dead-letter-strategy"] = "at-least-once"
            if version >= KNOWS_NO_LIMIT:
                ours["x-delivery-limit"] = -1
        return ours | given


def version_of(connection: kombu.Connection) -> Version:
    """Return the connected broker's version; () if it reports none."""
    reported = connection.connection.server_properties.get("version", "")
    text = reported.decode(errors="replace") if isinstance(reported, bytes) else str(reported)
    numbers = text.partition("-")[0].partition("+")[0].split(".")
    return tuple(int(number) for number in numbers) if all(number.isdecimal() for number in numbers) else ()
