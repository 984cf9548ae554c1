"""snapmanage-relay: send the messages in the outbox, if API and servers run no relay of their own."""

import sys

from snapmanage.cmd.process import running
from snapmanage.cmd.wiring import configuration, parts, probing, unknown_options


@running.program
def main() -> None:
    conf = configuration.load_service(sys.argv[1:], "snapmanage-relay")
    unknown_options.warn(conf)
    with probing.opened(conf) as make_probes:
        bus, names = parts.connect_bus(conf)
        db = parts.open_database(conf)
        relay = parts.make_relay(conf, db, bus, names)
        relay.start()
        probes = make_probes()
        probes.serve(lambda: [relay.pulse], probing.reachable(db, bus))
        running.until_stopped("ready")
        probes.stop()
        relay.stop()
        bus.close()
        db.close()
