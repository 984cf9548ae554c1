"""snapmanage-volume: serve the enabled backends."""

import sys
from collections.abc import Sequence

from oslo_config import cfg

from snapmanage.cmd.process import running, workers
from snapmanage.cmd.process.probes import Probes
from snapmanage.cmd.wiring import broker, configuration, probing, unknown_options, unserved, upstream
from snapmanage.cmd.wiring.parts import Parts, assemble_for_deployment, open_database
from snapmanage.pulse import Pulse
from snapmanage.volume.server import VolumeServer

# The part of the shutdown time in which operations may finish; in the rest, claims are released and connections closed.
DRAIN_SHARE = 0.9
MINIMUM_SHUTDOWN_SECONDS = 5.0


def make_server(conf: cfg.ConfigOpts, parts: Parts) -> VolumeServer:
    return VolumeServer(
        parts.app,
        parts.bus,
        parts.names,
        configuration.backends(conf),
        conf.operations.heartbeat_seconds,
        conf.operations.volume_name_template,
    )


@running.program
def main() -> None:
    conf = configuration.load_service(sys.argv[1:], "snapmanage-volume")
    unknown_options.warn(conf, with_backends=True)
    if conf.operations.workers > 1:
        open_database(conf).close()  # a bad database must stop this process, not each worker again and again
        upstream.make_client(conf)
    broker.require_lossless(conf, lambda names: broker.server_keys(conf, names))
    unserved.warn(conf, serves=True)
    count = conf.operations.workers
    with probing.opened(conf, count) as make_probes:
        workers.run(count, lambda: _serve(conf, make_probes()), conf.operations.graceful_shutdown_timeout)


def _serve(conf: cfg.ConfigOpts, probes: Probes) -> None:
    from snapmanage.drivers.system import privsep

    privsep.start()
    parts = assemble_for_deployment(conf)
    server = make_server(conf, parts)
    reporter = upstream.make_reporter(conf, parts.db)
    parts.start()
    server.start()
    if reporter:
        reporter.start()
    _answer_probes(probes, parts, server, [reporter.pulse] if reporter else [])
    timeout = conf.operations.graceful_shutdown_timeout
    running.until_stopped(_ready_line(server), max(timeout, MINIMUM_SHUTDOWN_SECONDS))
    probes.stop()
    server.drain(DRAIN_SHARE * timeout)
    if reporter:
        reporter.stop()
    parts.stop()
    running.exit_now()


def _answer_probes(probes: Probes, parts: Parts, server: VolumeServer, others: Sequence[Pulse]) -> None:
    reachable = probing.reachable(parts.db, parts.bus)
    probes.serve(lambda: [*parts.pulses(), *server.pulses(), *others], lambda: [*reachable(), *server.readiness()])


def _ready_line(server: VolumeServer) -> str:
    """Return the line for the end of the start, with the servers that are served, and those that are not yet."""
    served = " ".join(sorted(server.servers)) or "no backend is served yet"
    unserved = sorted(server.unserved)
    return f"ready: {served}" + (f"; retrying {' '.join(unserved)}" if unserved else "")
