"""From AMQP's messages to deliveries; and what the broker says of those that it had dropped from their queues."""

import logging
from typing import Any

from snapmanage.bus import Delivery
from snapmanage.bus.rabbit.declaring import Declared

LOG = logging.getLogger(__name__)

# By the reason in the message: what an operator looks for.
CAUSES = {
    "delivery_limit": "it was returned more often than a delivery limit allows",
    "expired": "it was older than a message TTL allows",
    "maxlen": "the queue was longer than a length limit allows",
    "rejected": "somebody rejected it",
}
_REASON = "x-first-death-reason"


class DeadLetters:
    """Makes deliveries of one consumer; logs each queue and reason of dropped messages once."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def delivery(self, message: Any, source: Declared) -> Delivery:
        """Return the message as one of the queue that it was sent to; one that was dropped from it was delivered
        before, as far as anybody knows.
        """
        headers = dict(message.headers or {})
        if source.dead_letters:
            self._log(source, str(headers.get(_REASON, "")))
        again = source.dead_letters or bool(message.delivery_info["redelivered"])
        return Delivery(source.key, bytes(message.body or b""), headers, again)

    def _log(self, source: Declared, reason: str) -> None:
        cause = CAUSES.get(reason, "it does not say why")
        if (source.name, cause) not in self._logged:
            self._logged.add((source.name, cause))
            LOG.warning(
                "The broker dropped a message, which is handled all the same from %s: %s. "
                "`rabbitmqctl list_policies` shows the policies; `snapmanage-manage broker check` judges them.",
                source.name,
                cause,
            )
