"""The message bus: its names, its envelope, and its two implementations.

`rabbit.bus.RabbitBus` uses RabbitMQ. `inprocess.InProcessBus` delivers messages within one process. Both keep the
contract of `Bus`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from snapmanage.core.readiness import Check
from snapmanage.pulse import Pulse


@dataclass(frozen=True)
class Publication:
    """A message to send: `message_id` identifies the outbox message, `routing_key` selects the queue.

    With `queue_must_exist` the publisher does not declare the queue: only the server that consumes it may.
    """

    message_id: str
    routing_key: str
    body: bytes
    queue_must_exist: bool = False


@dataclass(frozen=True)
class Delivery:
    """A received message, not parsed yet.

    `redelivered`: the broker delivered it before, to a consumer that did not acknowledge it.
    """

    queue: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    redelivered: bool = False


Handle = Callable[[Sequence[Delivery]], None]
# Raises an error while the handler can't handle a batch; the consumer calls it after a batch has failed.
Probe = Callable[[], None]


def no_probe() -> None:
    """Succeed always: for handlers that need no database or other service."""


class Consumer(Protocol):
    """A consumer of queues."""

    def pulses(self) -> Sequence[Pulse]:
        """Return the pulses of its threads."""

    def readiness(self) -> Check:
        """Return whether it receives the messages of its queues."""

    def stop(self) -> None:
        """Stop consuming; the broker requeues unacknowledged messages."""

    def join(self, timeout_seconds: float) -> None:
        """Wait until the current batch is handled."""


class Bus(Protocol):
    """The interface of a message bus."""

    def send(self, publications: Sequence[Publication]) -> set[str]:
        """Send, and return the ids of the messages that are stored durably in their queues.

        Raise `Unavailable` if the bus can't be reached. The caller must resend every message whose id is not returned.
        """

    def consume(self, queues: Sequence[str], handle: Handle, probe: Probe = no_probe) -> Consumer:
        """Call `handle` with batches of deliveries; acknowledge each batch after `handle` has returned.

        If `handle` raises, the batch is redelivered later, and consuming pauses until `probe` succeeds.
        """

    def call(self, server: str, method: str, arguments: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
        """Call a method of a server and return its result.

        Raise the error that the server replied with, or `Unavailable` if no reply arrives in time.
        """

    def reply(self, queue: str, body: bytes) -> None:
        """Send the reply to a call."""

    def ping(self) -> None:
        """Raise `Unavailable` if the bus can't be reached."""

    def close(self) -> None:
        """Close all connections."""
