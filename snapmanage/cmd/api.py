"""snapmanage-api: serve the REST API."""

import os
import sys
from typing import Any

from oslo_config import cfg

from snapmanage import crash
from snapmanage.api import app, routes
from snapmanage.api.request import Limits, Service
from snapmanage.api.serving import server as http
from snapmanage.api.serving.parser import LargeBodies
from snapmanage.api.serving.server import HttpServer, shared_port
from snapmanage.api.waiting_lists import ListingLimits, Listings, Searches, SearchLimits
from snapmanage.cmd.process import running, workers
from snapmanage.cmd.process.probes import Probes
from snapmanage.cmd.wiring import configuration, middleware, probing, unknown_options, unserved
from snapmanage.cmd.wiring.parts import Parts, assemble_for_deployment, open_database
from snapmanage.core.values.listen import parse_listen, require_loopback
from snapmanage.store.engine.database import connections


def application() -> Any:
    """Return the application for a WSGI server, and start its relay."""
    crash.arm(os.environ)
    conf = configuration.load_for_wsgi()
    parts = assemble_for_deployment(conf)
    unserved.warn(conf, serves=False)
    assembled = assemble(conf, parts)
    parts.start()
    return assembled


@running.program
def main() -> None:
    conf = configuration.load_service(sys.argv[1:], "snapmanage-api")
    unknown_options.warn(conf)
    host, port = parse_listen(conf.api.listen)
    if conf.api.auth_strategy == "noauth" and not conf.api.noauth_anywhere:
        require_loopback(host, "snapmanage-api with auth_strategy noauth")
    unserved.warn(conf, serves=False)
    count = conf.api.workers
    with probing.opened(conf, count) as make_probes:
        if count == 1:
            return _serve(conf, HttpServer(host, port, conf.api.threads), make_probes())
        open_database(conf).close()  # a bad database must stop this process, not each worker again and again
        with shared_port(host, port) as port:
            workers.run(
                count,
                lambda: _serve(conf, HttpServer(host, port, conf.api.threads, shared=True), make_probes()),
                http.SHUTDOWN_SECONDS,
            )


def _serve(conf: cfg.ConfigOpts, http_server: HttpServer, probes: Probes) -> None:
    with http_server as server:
        parts = assemble_for_deployment(conf)
        application = assemble(conf, parts)
        parts.start()
        server.start(application, conf.api.max_request_body_size, large_bodies(conf))
        probes.serve(lambda: [*parts.pulses(), *server.pulses()], probing.reachable(parts.db, parts.bus))
        running.until_stopped(f"ready: http://{server.address}/v3", http.SHUTDOWN_SECONDS + running.SHUTDOWN_SECONDS)
        probes.stop()
    parts.stop()


def large_bodies(conf: cfg.ConfigOpts) -> LargeBodies:
    return LargeBodies(routes.BATCHES, conf.api.max_batch_body_size)


def assemble(conf: cfg.ConfigOpts, parts: Parts) -> Any:
    """Return the WSGI application behind the configured authentication, policy and middleware."""
    limits = Limits(conf.api.osapi_max_limit, conf.api.max_request_body_size, conf.api.max_batch_body_size)
    authenticate, policy = middleware.authentication(conf), middleware.policy(conf)
    listings = Listings(ListingLimits.of_threads(conf.api.threads))
    searches = Searches(SearchLimits.of_process(conf.api.threads, connections(conf.database.pool_size)))
    service = Service(parts.app, parts.bus, limits, authenticate, policy, listings, searches)
    return middleware.surround(conf, app.build(service))
