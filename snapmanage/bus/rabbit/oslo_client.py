"""RPC calls through oslo.messaging's client, which manages the reply queue."""

from collections.abc import Mapping
from typing import Any

import oslo_messaging
from oslo_config import cfg

from snapmanage import errors
from snapmanage.bus.names import VERSION, Names


class OsloCaller:
    """The RPC client of `RabbitBus`; it raises the errors of `snapmanage.errors` that a server replies with."""

    def __init__(self, conf: cfg.ConfigOpts, names: Names, timeout_seconds: float) -> None:
        self._transport = oslo_messaging.get_rpc_transport(conf, allowed_remote_exmods=["snapmanage.errors"])
        target = oslo_messaging.Target(exchange=names.exchange, topic=names.volume_topic, version=VERSION)
        options = oslo_messaging.TransportOptions(at_least_once=True)
        self._client = oslo_messaging.get_rpc_client(
            self._transport, target, timeout=timeout_seconds, retry=1, transport_options=options
        )

    def close(self) -> None:
        self._transport.cleanup()

    def __call__(self, server: str, method: str, arguments: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
        try:
            return self._client.prepare(server=server).call(dict(context), method, **arguments)
        except (oslo_messaging.MessagingException, oslo_messaging.MessageUndeliverable) as error:
            if isinstance(error, errors.SnapmanageError):
                raise
            raise errors.Unavailable(f"{server} did not reply; try again later") from error
