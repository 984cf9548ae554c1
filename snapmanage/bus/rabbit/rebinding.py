"""Bind the consumed queues again at intervals, so that a deleted exchange or binding stops messages for a minute only.

The broker reports a deleted queue to its consumer, but no deleted binding.
"""

import logging
import threading
from collections.abc import Callable, Sequence

import kombu
from amqp.exceptions import AccessRefused, ChannelError

from snapmanage.bus.rabbit.connecting import BROKEN
from snapmanage.bus.rabbit.declaring import bind_again
from snapmanage.bus.rabbit.topology import Topology

LOG = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0


class Rebinding:
    """A thread that binds the queues of routing keys again every `INTERVAL_SECONDS`.

    Each time it uses a new connection: an answer on a consumer's connection would wait behind all messages that the
    broker has sent ahead, and the consumer would have to hold them.
    """

    def __init__(self, connect: Callable[[int], kombu.Connection], topology: Topology, keys: Sequence[str]) -> None:
        self._connect = connect
        self._topology = topology
        self._keys = keys
        self._not_permitted: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rebinding", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL_SECONDS):
            try:
                with self._connect(0) as connection:
                    for key in self._keys:
                        self._bind(connection, key)
            except BROKEN:
                pass  # the consumer of these queues logs the reason, and declares them when it connects again
            except Exception:
                LOG.exception("Binding queues again failed; retrying in %g s.", INTERVAL_SECONDS)

    def _bind(self, connection: kombu.Connection, key: str) -> None:
        """Bind one queue again; the broker's refusal must not keep the others from it.

        A user without the right to bind is usual after the first start, so that is logged once.
        """
        try:
            bind_again(connection, self._topology, key)
        except AccessRefused as error:
            if key not in self._not_permitted:
                LOG.info(
                    "The user of transport_url may not bind queue %s again (%s), so this process restores no deleted "
                    "binding of it.",
                    self._topology.name(key),
                    error,
                )
            self._not_permitted.add(key)
        except ChannelError as error:
            LOG.warning(
                "The broker refused to bind queue %s again (%s); retrying in %g s.",
                self._topology.name(key),
                error,
                INTERVAL_SECONDS,
            )
