"""How exchange and queues are declared, so that the broker's own limits drop no message for good.

A queue of ours dead-letters into a queue of its own, which the same consumer takes from. Dead-lettering is at least
once, and a full queue refuses what is published, so that its publisher knows. Only arguments protect a queue: a policy
may lower a limit at any time, but it can't take these arguments away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import kombu

Version = tuple[int, ...]

# It begins with the word, so that a policy for the queues of a topic doesn't match it as well.
DEAD_LETTERS = "dead-letters."
# Before it, -1 is a limit that every returned message exceeds; from it on, it is none.
KNOWS_NO_LIMIT: Version = (4, 0)
DEAD_LETTERS_AT_LEAST_ONCE: Version = (3, 10)
_REFUSE_WHEN_FULL = {"x-overflow": "reject-publish"}


@dataclass(frozen=True)
class Topology:
    """Names and arguments, after the options of `[oslo_messaging_rabbit]`.

    A queue is known by its routing key. `queue_names` has those whose name is another one: queues of ours that are
    bound to a key of others, and declared by nobody else.
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
        """Return the name of the queue that takes what is sent under `key`."""
        return self.queue_names.get(key, key)

    def dead_letter_name(self, key: str) -> str:
        return DEAD_LETTERS + self.name(key)

    def queue(self, key: str, version: Version = ()) -> kombu.Queue:
        """Return the queue as a broker of this version should have it."""
        return self._queue(key, self._arguments(key, version))

    def variants(self, key: str, version: Version) -> list[kombu.Queue]:
        """Return declarations that keep what is sent equally well, the best first.

        The last has no limit of deliveries, as an older version of the broker has declared it.
        """
        arguments = self._arguments(key, version)
        without = {name: value for name, value in arguments.items() if value != -1}
        return [self._queue(key, each) for each in ([arguments] if without == arguments else [arguments, without])]

    def plain_queue(self, key: str) -> kombu.Queue:
        """Return the queue as oslo.messaging would declare it, without what protects it."""
        return self._queue(key, self.queue_arguments)

    def dead_letter_queue(self, key: str) -> kombu.Queue:
        """Return the queue that gets what the broker drops.

        It is a classic one, since these have no limit of deliveries, and since no policy changes how a classic queue
        overflows that was declared with the argument.
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
            "x-dead-letter-exchange": "",  # the default one, which can't be deleted
            "x-dead-letter-routing-key": self.dead_letter_name(key),
        } | _REFUSE_WHEN_FULL
        if given.get("x-queue-type") == "quorum":
            if version >= DEAD_LETTERS_AT_LEAST_ONCE:
                ours["x-dead-letter-strategy"] = "at-least-once"
            if version >= KNOWS_NO_LIMIT:
                ours["x-delivery-limit"] = -1
        return ours | given


def version_of(connection: kombu.Connection) -> Version:
    """Return the connected broker's version; () where it tells none."""
    told = connection.connection.server_properties.get("version", "")
    text = told.decode(errors="replace") if isinstance(told, bytes) else str(told)
    numbers = text.partition("-")[0].partition("+")[0].split(".")
    return tuple(int(number) for number in numbers) if all(number.isdecimal() for number in numbers) else ()
