"""Assembly of the probes of a process, or of the workers that it supervises."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from oslo_config import cfg

from snapmanage.bus import Bus
from snapmanage.cmd.process import bounded_check, status_server
from snapmanage.cmd.process.bounded_check import BoundedCheck
from snapmanage.cmd.process.probes import LIVE, READY, Probes
from snapmanage.cmd.process.worker_probes import WorkerProbes
from snapmanage.core.readiness import Check
from snapmanage.core.values.listen import parse_listen
from snapmanage.store.engine.database import Database

LOG = logging.getLogger(__name__)


@contextmanager
def opened(conf: cfg.ConfigOpts, workers: int = 1) -> Iterator[Callable[[], Probes]]:
    """Serve the probes at `[health] listen`, and yield a function that returns those of a process that serves.

    With several workers, each calls the function once; this process answers for all of them. Without the option,
    nothing is served.
    """
    if not conf.health.listen:
        yield lambda: Probes(conf.health.hung_seconds)
    elif workers == 1:
        probes = Probes(conf.health.hung_seconds)
        with _served(conf, probes.pages()):
            yield lambda: probes
    else:
        with ExitStack() as stack:
            of_workers = WorkerProbes(workers)
            stack.callback(of_workers.close)
            servers = stack.enter_context(_served(conf, of_workers.pages()))
            yield lambda: _in_worker(conf, of_workers, servers)


def reachable(db: Database, bus: Bus) -> Callable[[], list[Check]]:
    """Return a function that checks whether the database and the broker answer, in a bounded time."""
    bounded = [BoundedCheck("database", db.now), BoundedCheck("broker", bus.ping)]
    return lambda: bounded_check.all_of(bounded)


def _in_worker(conf: cfg.ConfigOpts, of_workers: WorkerProbes, servers: list[status_server.StatusServer]) -> Probes:
    for server in servers:
        server.close_copy()
    probes = Probes(conf.health.hung_seconds)
    of_workers.listen(probes)
    return probes


@contextmanager
def _served(conf: cfg.ConfigOpts, pages: status_server.Pages) -> Iterator[list[status_server.StatusServer]]:
    servers = status_server.bind([(parse_listen(conf.health.listen, "[health] listen"), pages)])
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
            LOG.info("Probes for operators: http://%s/%s and /%s", server.address, LIVE, READY)
        yield servers
