"""Convert AMQP messages to deliveries, and log the reasons of dead-lettered messages."""

import logging
from typing import Any

from snapmanage.bus import Delivery
from snapmanage.bus.rabbit.declaring import DeclaredQueue

LOG = logging.getLogger(__name__)

# By the reason in the message's header: the cause in an operator's terms.
CAUSES = {
    "delivery_limit": "it was returned more often than a delivery limit allows",
    "expired": "it was older than a message TTL allows",
    "maxlen": "the queue was longer than a length limit allows",
    "rejected": "a consumer rejected it",
}
_REASON = "x-first-death-reason"


class DeadLetters:
    """Converts the messages of one consumer; logs each queue and reason of dropped messages once."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def delivery(self, message: Any, source: DeclaredQueue) -> Delivery:
        """Return the delivery, with the routing key that the message was sent under.

        A dead-lettered message counts as redelivered, because the broker may have delivered it before it dropped it.
        """
        headers = dict(message.headers or {})
        if source.dead_letters:
            self._log(source, str(headers.get(_REASON, "")))
        redelivered = source.dead_letters or bool(message.delivery_info["redelivered"])
        return Delivery(source.key, bytes(message.body or b""), headers, redelivered)

    def _log(self, source: DeclaredQueue, reason: str) -> None:
        cause = CAUSES.get(reason, "the message has no reason")
        if (source.name, cause) not in self._logged:
            self._logged.add((source.name, cause))
            LOG.warning(
                "The broker dropped a message; it is handled from dead-letter queue %s: %s. "
                "See `rabbitmqctl list_policies`; `snapmanage-manage broker check` reports harmful policies.",
                source.name,
                cause,
            )
