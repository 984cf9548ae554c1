"""Consuming queues on RabbitMQ, and what the broker drops from them.

A queue for dead letters lives on one node of a cluster. While that node is down, RabbitMQ 4 leaves whoever asks for the
queue without an answer for a minute. So each of them is consumed over a connection of its own, and holds up no other.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import kombu

from snapmanage.bus import Delivery, Handle, Probe, no_probe
from snapmanage.bus.declaring import declare, declare_dead_letters
from snapmanage.bus.taker import Taker
from snapmanage.bus.topology import Topology


class RabbitConsumer:
    """Takes from the queues of routing keys over one connection, and from each queue for dead letters over another.

    `handle` is called for one batch at a time.
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
        dead_letters = {
            topology.dead_letter_name(key): partial(declare_dead_letters, topology=topology, key=key) for key in keys
        }
        in_turn = _in_turn(handle)
        self._takers = [
            Taker(connect, wanted, in_turn, prefetch, probe)
            for wanted in (queues, *({name: each} for name, each in dead_letters.items()))
        ]

    def start(self) -> None:
        for taker in self._takers:
            taker.start()

    def stop(self) -> None:
        for taker in self._takers:
            taker.stop()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the batches in hand, for so long in all."""
        deadline = time.monotonic() + timeout_seconds
        for taker in self._takers:
            taker.join(max(0.0, deadline - time.monotonic()))


def _in_turn(handle: Handle) -> Handle:
    """Return a handler that several threads may call; each waits until the one before is done."""
    turn = threading.Lock()

    def handle_in_turn(batch: Sequence[Delivery]) -> None:
        with turn:
            handle(batch)

    return handle_in_turn
