"""Call a server through oslo.messaging alone, without snapmanage's own connection before; it never ends.

The test starts this program with a configuration file, and kills it.
"""

import sys

from oslo_config import cfg

import snapmanage.cmd  # noqa: F401 - the first import selects threads for oslo.service
from snapmanage import conf as options
from snapmanage.bus.names import Names
from snapmanage.bus.rabbit.oslo_client import OsloCaller, RpcBroker
from snapmanage.cmd.wiring import broker_connection, configuration


class NoProbe:
    """A connection that was not made."""

    def __call__(self, heartbeat_seconds: int) -> "NoProbe":
        return self

    def release(self) -> None:
        pass


def main(file: str) -> None:
    options.register(cfg.CONF)
    configuration.register_messaging(cfg.CONF)
    cfg.CONF([], default_config_files=[file])
    brokers = [RpcBroker(each.url, NoProbe()) for each in broker_connection.rpc_brokers(cfg.CONF)]  # type: ignore[arg-type]
    OsloCaller(cfg.CONF, Names(), 2, brokers)("server", "method", {}, {})


if __name__ == "__main__":
    main(sys.argv[1])
