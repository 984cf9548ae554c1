"""snapmanage-relay: send the messages in the outbox, if API and servers run no relay of their own."""

import sys

from snapmanage.cmd.process import running
from snapmanage.cmd.wiring import configuration, parts


@running.program
def main() -> None:
    conf = configuration.load(sys.argv[1:], "snapmanage-relay")
    bus, names = parts.connect_bus(conf)
    db = parts.open_database(conf)
    relay = parts.make_relay(conf, db, bus, names)
    relay.start()
    running.until_stopped("ready")
    relay.stop()
    bus.close()
    db.close()
