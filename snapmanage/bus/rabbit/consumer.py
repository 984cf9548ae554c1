"""Consume queues and their dead-letter queues on RabbitMQ.

A dead-letter queue lives on one node of a cluster. While that node is down, RabbitMQ 4.0 answers a declaration of the
queue after a minute only. So each dead-letter queue has a connection of its own and delays no other queue.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import kombu

from snapmanage.bus import Delivery, Handle, Probe, no_probe
from snapmanage.bus.rabbit.declaring import declare, declare_dead_letters
from snapmanage.bus.rabbit.queue_consumer import QueueConsumer
from snapmanage.bus.rabbit.rebinding import Rebinding
from snapmanage.bus.rabbit.topology import Topology
from snapmanage.core.readiness import Check
from snapmanage.pulse import Pulse


class RabbitConsumer:
    """Consumes the queues of routing keys over one connection, and each of their dead-letter queues over another.

    `handle` and `probe` are never called at the same time.
    """

    def __init__(
        self,
        connect: Callable[[int], kombu.Connection],
        topology: Topology,
        keys: Sequence[str],
        handle: Handle,
        prefetch: int,
        probe: Probe = no_probe,
    ) -> None:
        queues = {topology.name(key): partial(declare, topology=topology, key=key) for key in keys}
        dead_letters = [
            {topology.dead_letter_name(key): partial(declare_dead_letters, topology=topology, key=key)} for key in keys
        ]
        handle, probe = _serialized(handle, probe)
        self._consumers = [
            QueueConsumer(connect, declarations, handle, prefetch, probe) for declarations in (queues, *dead_letters)
        ]
        self._rebinding = Rebinding(connect, topology, keys)

    def pulses(self) -> list[Pulse]:
        return [pulse for consumer in self._consumers for pulse in consumer.pulses()]

    def readiness(self) -> Check:
        """Return whether it receives the messages of the queues; those of the dead-letter queues may be late."""
        return self._consumers[0].readiness()

    def start(self) -> None:
        for consumer in self._consumers:
            consumer.start()
        self._rebinding.start()

    def stop(self) -> None:
        self._rebinding.stop()
        for consumer in self._consumers:
            consumer.stop()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the current batches, at most `timeout_seconds` in total."""
        deadline = time.monotonic() + timeout_seconds
        for consumer in self._consumers:
            consumer.join(max(0.0, deadline - time.monotonic()))


def _serialized(handle: Handle, probe: Probe) -> tuple[Handle, Probe]:
    """Return both for use by several threads, one call at a time.

    A handler counts attempts at its messages, and its probe uncounts them.
    """
    lock = threading.Lock()

    def serialized_handle(batch: Sequence[Delivery]) -> None:
        with lock:
            handle(batch)

    def serialized_probe() -> None:
        with lock:
            probe()

    return serialized_handle, serialized_probe
