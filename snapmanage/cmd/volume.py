"""snapmanage-volume: serve the enabled backends."""

import sys

from oslo_config import cfg

from snapmanage.cmd.process import running, workers
from snapmanage.cmd.wiring import broker, configuration, unserved, upstream
from snapmanage.cmd.wiring.parts import Parts, assemble_for_deployment, open_database
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
    conf = configuration.load(sys.argv[1:], "snapmanage-volume")
    if conf.operations.workers > 1:
        open_database(conf).close()  # a bad database must stop this process, not each worker again and again
        upstream.make_client(conf)
    broker.require_lossless(conf, lambda names: broker.server_keys(conf, names))
    unserved.warn(conf, serves=True)
    workers.run(conf.operations.workers, lambda: _serve(conf), conf.operations.graceful_shutdown_timeout)


def _serve(conf: cfg.ConfigOpts) -> None:
    from snapmanage.drivers.system import privsep

    privsep.start()
    parts = assemble_for_deployment(conf)
    server = make_server(conf, parts)
    reporter = upstream.make_reporter(conf, parts.db)
    parts.start()
    server.start()
    if reporter:
        reporter.start()
    timeout = conf.operations.graceful_shutdown_timeout
    running.until_stopped(f"ready: {' '.join(sorted(server.servers))}", max(timeout, MINIMUM_SHUTDOWN_SECONDS))
    server.drain(DRAIN_SHARE * timeout)
    if reporter:
        reporter.stop()
    parts.stop()
    running.exit_now()
