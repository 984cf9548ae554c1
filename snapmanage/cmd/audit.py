"""snapmanage-audit: store every event in the audit log."""

import sys

from oslo_config import cfg

from snapmanage.audit.listener import Listener
from snapmanage.bus.names import Names
from snapmanage.cmd.process import running
from snapmanage.cmd.process.probes import Probes
from snapmanage.cmd.wiring import broker, configuration, parts, probing, unknown_options
from snapmanage.manage.maintenance.redelivery import PoisonMessageGuard

DRAIN_SECONDS = 30


@running.program
def main() -> None:
    conf = configuration.load_service(sys.argv[1:], "snapmanage-audit")
    unknown_options.warn(conf)
    with probing.opened(conf) as make_probes:
        _serve(conf, make_probes())


def _serve(conf: cfg.ConfigOpts, probes: Probes) -> None:
    broker.require_lossless(conf, Names.event_keys)
    bus, names = parts.connect_bus(conf)
    db = parts.open_database(conf)
    handler = PoisonMessageGuard(Listener(db), db, conf.operations.max_attempts)
    consumer = bus.consume(names.event_keys(), handler, handler.probe)
    reachable = probing.reachable(db, bus)
    probes.serve(consumer.pulses, lambda: [*reachable(), consumer.readiness()])
    running.until_stopped("ready", DRAIN_SECONDS + running.SHUTDOWN_SECONDS)
    probes.stop()
    consumer.stop()
    consumer.join(DRAIN_SECONDS)
    bus.close()
    db.close()
