"""RPC calls through oslo.messaging's client, which manages the reply queue."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import oslo_messaging
from oslo_config import cfg

from snapmanage import errors
from snapmanage.bus.names import VERSION, Names
from snapmanage.bus.rabbit.connecting import BROKEN, Connector

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RpcBroker:
    """The URL of one broker, or of several, for oslo.messaging, and our own way to connect to it."""

    url: Any
    connect: Connector


class OsloCaller:
    """The RPC client of `RabbitBus`; it raises the errors of `snapmanage.errors` that a server replies with.

    With TLS, each broker has a client of its own: oslo.messaging checks the certificates of all brokers of one URL for
    the same name. A call goes to the broker that answered last.
    """

    def __init__(
        self, conf: cfg.ConfigOpts, names: Names, timeout_seconds: float, brokers: Sequence[RpcBroker]
    ) -> None:
        target = oslo_messaging.Target(exchange=names.exchange, topic=names.volume_topic, version=VERSION)
        options = oslo_messaging.TransportOptions(at_least_once=True)
        self._transports = [
            oslo_messaging.get_rpc_transport(conf, each.url, allowed_remote_exmods=["snapmanage.errors"])
            for each in brokers
        ]
        self._clients = [
            oslo_messaging.get_rpc_client(
                transport, target, timeout=timeout_seconds, retry=1, transport_options=options
            )
            for transport in self._transports
        ]
        self._brokers = brokers
        self._reached: set[int] = set()
        self._preferred = 0

    def close(self) -> None:
        for transport in self._transports:
            transport.cleanup()

    def __call__(self, server: str, method: str, arguments: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
        try:
            return self._call(server, method, arguments, context)
        except (oslo_messaging.MessagingException, oslo_messaging.MessageUndeliverable) as error:
            if isinstance(error, errors.SnapmanageError):
                raise
            raise errors.Unavailable(f"{server} did not reply; try again later") from error

    def _call(self, server: str, method: str, arguments: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
        """Call through the first broker that can be reached, and prefer it from now on."""
        preferred, numbers = self._preferred, range(len(self._clients))
        problems = []
        for number in (*numbers[preferred:], *numbers[:preferred]):
            try:
                self._reach(number)
                answer = self._clients[number].prepare(server=server).call(dict(context), method, **arguments)
            except (oslo_messaging.MessageDeliveryFailure, *BROKEN) as error:
                problems.append(str(error))
            else:
                self._preferred = number
                return answer
        LOG.warning("The broker can't be reached for a call of %s: %s.", method, "; ".join(problems))
        raise errors.Unavailable(f"{server} can't be called, since the broker can't be reached; try again later")

    def _reach(self, number: int) -> None:
        """Connect once before the first call: oslo.messaging would try for ever to get its queue for replies."""
        if number not in self._reached:
            self._brokers[number].connect(0).release()
            self._reached.add(number)
