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
from snapmanage.api.serving.server import HttpServer, parse_listen, require_loopback, shared_port
from snapmanage.api.waiting_lists import ListingLimits, Listings, Searches, SearchLimits
from snapmanage.cmd.process import running, workers
from snapmanage.cmd.wiring import configuration, middleware, unserved
from snapmanage.cmd.wiring.parts import Parts, assemble_for_deployment, open_database
from snapmanage.store.engine.database import connections


def application() -> Any:
    """Return the application for a WSGI server, and start its relay."""
    crash.arm(os.environ)
    conf = configuration.load_for_wsgi()
    unserved.warn(conf, serves=False)
    parts = assemble_for_deployment(conf)
    assembled = assemble(conf, parts)
    parts.start()
    return assembled


@running.program
def main() -> None:
    conf = configuration.load(sys.argv[1:], "snapmanage-api")
    host, port = parse_listen(conf.api.listen)
    if conf.api.auth_strategy == "noauth" and not conf.api.noauth_anywhere:
        require_loopback(host, "snapmanage-api with auth_strategy noauth")
    unserved.warn(conf, serves=False)
    if conf.api.workers == 1:
        return _serve(conf, HttpServer(host, port, conf.api.threads))
    open_database(conf).close()  # a bad database must stop this process, not each worker again and again
    with shared_port(host, port) as port:
        workers.run(
            conf.api.workers,
            lambda: _serve(conf, HttpServer(host, port, conf.api.threads, shared=True)),
            http.SHUTDOWN_SECONDS,
        )


def _serve(conf: cfg.ConfigOpts, http_server: HttpServer) -> None:
    with http_server as server:
        parts = assemble_for_deployment(conf)
        application = assemble(conf, parts)
        parts.start()
        server.start(application, conf.api.max_request_body_size, large_bodies(conf))
        running.until_stopped(f"ready: http://{server.address}/v3", http.SHUTDOWN_SECONDS + running.SHUTDOWN_SECONDS)
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
