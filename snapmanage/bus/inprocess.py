"""The bus within one process (`fake://`): a sender calls the consumer's handler directly.

A message counts as arrived after it was handled, so a kill loses no confirmed message. (oslo.messaging's in-memory
driver confirms messages that are only in memory, and polls every 50 ms.)
"""

import logging
import threading
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from snapmanage import errors
from snapmanage.bus import Delivery, Handle, Probe, Publication, envelope, no_probe
from snapmanage.bus.names import Names
from snapmanage.core.readiness import Check
from snapmanage.core.values.logfields import fields
from snapmanage.pulse import Pulse

LOG = logging.getLogger(__name__)


class InProcessBus:
    def __init__(self, names: Names, call_timeout_seconds: float = 60) -> None:
        self._names = names
        self._call_timeout = call_timeout_seconds
        self._handlers: dict[str, Handle] = {}
        self._calls: dict[str, Future[bytes]] = {}

    def send(self, publications: Sequence[Publication]) -> set[str]:
        arrived: set[str] = set()
        for queue in dict.fromkeys(publication.routing_key for publication in publications):
            batch = [publication for publication in publications if publication.routing_key == queue]
            handle = self._handlers.get(queue)
            if handle is None:  # only a server's queue must have a consumer
                arrived |= {publication.message_id for publication in batch if not publication.queue_must_exist}
                continue
            try:
                handle([Delivery(queue, publication.body) for publication in batch])
                arrived |= {publication.message_id for publication in batch}
            except Exception:
                LOG.exception("A consumer failed; its messages are sent again: %s", fields(queue=queue))
        return arrived

    def consume(self, queues: Sequence[str], handle: Handle, probe: Probe = no_probe) -> "InProcessConsumer":
        """Register `handle`. `probe` is not called: the sender keeps a message until it is handled."""
        consumer = InProcessConsumer(self._handlers, queues, handle)
        self._handlers |= dict.fromkeys(queues, consumer.receive)
        return consumer

    def call(self, server: str, method: str, arguments: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
        msg_id = uuid.uuid4().hex
        answered: Future[bytes] = Future()
        self._calls[msg_id] = answered
        body = envelope.request(method, arguments, context, uuid.uuid4().hex, _msg_id=msg_id, _reply_q=msg_id)
        try:
            if not self.send([Publication(msg_id, self._names.server_queue(server), body, True)]):
                raise errors.Unavailable(f"{server} is not accepting requests; try again later")
            return envelope.open_reply(answered.result(self._call_timeout))
        except TimeoutError:
            raise errors.Unavailable(
                f"{server} did not reply within {self._call_timeout:g} s; try again later"
            ) from None
        finally:
            del self._calls[msg_id]

    def reply(self, queue: str, body: bytes) -> None:
        answered = self._calls.get(queue)
        if answered is not None:
            answered.set_result(body)

    def ping(self) -> None:
        """Return always: the bus is in this process."""

    def close(self) -> None:
        self._handlers.clear()


class InProcessConsumer:
    """The consumer of some queues; several sender threads may call `receive` at the same time."""

    def __init__(self, handlers: dict[str, Handle], queues: Sequence[str], handle: Handle) -> None:
        self._handlers = handlers
        self._queues = queues
        self._handle = handle
        self._in_hand = 0
        self._idle = threading.Condition()

    def pulses(self) -> Sequence[Pulse]:
        """Return none: the threads are those of the senders."""
        return ()

    def readiness(self) -> Check:
        return Check(f"consumer/{self._queues[0]}")

    def receive(self, batch: Sequence[Delivery]) -> None:
        with self._idle:
            self._in_hand += 1
        try:
            self._handle(batch)
        finally:
            with self._idle:
                self._in_hand -= 1
                self._idle.notify_all()

    def stop(self) -> None:
        for queue in self._queues:
            self._handlers.pop(queue, None)

    def join(self, timeout_seconds: float) -> None:
        with self._idle:
            self._idle.wait_for(lambda: not self._in_hand, timeout_seconds)
