"""The bus: names, the envelope on the wire, and the two ways to carry it.

`rabbit.RabbitBus` speaks to RabbitMQ, `inprocess.InProcessBus` hands over within one process; both
keep the same promises, those of `Bus`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Publication:
    """A message as it is sent: `message_id` tells which one it carries, `routing_key` names its queue.

    `queue_must_exist` is for what only its server may make a queue for.
    """

    message_id: str
    routing_key: str
    body: bytes
    queue_must_exist: bool = False


@dataclass(frozen=True)
class Delivery:
    """A message as it arrived, not understood yet.

    `again` says that it was delivered before, to somebody who didn't acknowledge it.
    """

    queue: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    again: bool = False


Handle = Callable[[Sequence[Delivery]], None]
# Raises unless a batch could be handled now; asked after a batch could not be.
Probe = Callable[[], None]


def no_probe() -> None:
    """The probe of a handler that needs nothing which could be away."""


class Consumer(Protocol):
    """Somebody who takes deliveries off queues."""

    def stop(self) -> None:
        """Take nothing more; what isn't acknowledged goes back to its queue."""

    def join(self, timeout_seconds: float) -> None:
        """Wait for the batch in hand."""


class Bus(Protocol):
    """What snapmanage asks of a message bus."""

    def send(self, publications: Sequence[Publication]) -> set[str]:
        """Send, and return the ids of the messages that arrived in their queues for good.

        `Unavailable` when the bus is away; whatever isn't returned must be sent again.
        """

    def consume(self, queues: Sequence[str], handle: Handle, probe: Probe = no_probe) -> Consumer:
        """Hand batches of deliveries to `handle`, acknowledging each batch once it returns.

        When it raises, the batch comes again later; nothing is held until `probe` returns.
        """

    def call(self, server: str, method: str, arguments: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
        """Ask a server and wait for its answer; `Unavailable` when there is none, or the error it answered."""

    def reply(self, queue: str, body: bytes) -> None:
        """Answer a call."""

    def close(self) -> None:
        """Let go of connections."""
