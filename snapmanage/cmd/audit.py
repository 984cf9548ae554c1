"""snapmanage-audit: store every event in the audit log."""

import sys

from snapmanage.audit.listener import Listener
from snapmanage.bus.names import Names
from snapmanage.cmd.process import running
from snapmanage.cmd.wiring import broker, configuration, parts
from snapmanage.manage.maintenance.redelivery import PoisonMessageGuard

DRAIN_SECONDS = 30


@running.program
def main() -> None:
    conf = configuration.load(sys.argv[1:], "snapmanage-audit")
    broker.require_lossless(conf, Names.event_keys)
    bus, names = parts.connect_bus(conf)
    db = parts.open_database(conf)
    handler = PoisonMessageGuard(Listener(db), db, conf.operations.max_attempts)
    consumer = bus.consume(names.event_keys(), handler, handler.probe)
    running.until_stopped("ready", DRAIN_SECONDS + running.SHUTDOWN_SECONDS)
    consumer.stop()
    consumer.join(DRAIN_SECONDS)
    bus.close()
    db.close()
