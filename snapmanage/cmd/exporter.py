"""snapmanage-exporter: serve the state of the deployment to Prometheus.

The counters of the processes are in the pages of the processes themselves. This page has the state in the database,
which is the same for all of them: counted in each process, it would be counted many times.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from oslo_config import cfg
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import errors
from snapmanage.bus.names import Names
from snapmanage.cmd.process import running
from snapmanage.cmd.process.status_server import Answer, StatusServer
from snapmanage.cmd.wiring import configuration, gauges
from snapmanage.core.maintenance.health import Facts
from snapmanage.core.values.listen import parse_listen
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.maintenance import health
from snapmanage.manage.maintenance.health import Progress
from snapmanage.store.engine import schema

LOG = logging.getLogger(__name__)

# A reading may take at most this share of the time, so that a large database is read less often.
LARGEST_SHARE = 0.05
# Facts that are older are not shown; the database counts as away.
OLDEST_SECONDS = 60.0


@dataclass(frozen=True)
class Reading:
    """The facts as they were at the time `at`, and the seconds that it took to read them; no facts after an error."""

    facts: Facts | None
    at: float
    took: float


def pause_seconds(interval_seconds: float, took: float) -> float:
    """Return the pause after a reading that took so many seconds."""
    return max(interval_seconds, took / LARGEST_SHARE)


class Reader:
    """Read the facts again and again in a thread, so that a page never waits for the database."""

    def __init__(self, app: Application, interval_seconds: float) -> None:
        self._app = app
        self._interval = interval_seconds
        self._progress: Progress | None = None
        self._is_known_current = False
        self._problem = ""
        self._latest = Reading(None, time.monotonic(), 0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(running.SHUTDOWN_SECONDS / 2)

    @property
    def latest(self) -> Reading:
        """Return the latest reading, without facts if these are too old."""
        latest = self._latest
        pause = pause_seconds(self._interval, latest.took)
        return (
            latest if time.monotonic() - latest.at < OLDEST_SECONDS + pause else Reading(None, latest.at, latest.took)
        )

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._latest = self._read()
            self._stopping.wait(pause_seconds(self._interval, self._latest.took))

    def _read(self) -> Reading:
        began = time.monotonic()
        facts: Facts | None = None
        try:
            if not self._is_known_current:
                schema.require_current(self._app.db.engine)
                self._is_known_current = True
            facts, self._progress = health.read(self._app, self._progress)
            self._note("")
        except (SQLAlchemyError, errors.SnapmanageError) as error:
            self._note(str(error).partition("\n")[0])
        except Exception:
            LOG.exception("The state of the deployment could not be read; it is read again later.")
        return Reading(facts, time.monotonic(), time.monotonic() - began)

    def _note(self, problem: str) -> None:
        """Log a problem once, and its end."""
        if problem and not self._problem:
            LOG.warning("The state of the deployment can't be read; it is tried again and again: %s", problem)
        if self._problem and not problem:
            LOG.info("The state of the deployment can be read again.")
        self._problem = problem


class Page:
    """The page `/metrics`: a collector for `prometheus_client`."""

    def __init__(self, latest: Callable[[], Reading], names: Names) -> None:
        from prometheus_client import CollectorRegistry, exposition

        self._latest = latest
        self._names = names
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._generate, self._content_type = exposition.generate_latest, exposition.CONTENT_TYPE_LATEST

    def __call__(self) -> Answer:
        return Answer(200, self._content_type, self._generate(self._registry))

    def collect(self) -> Iterator[Any]:
        latest = self._latest()
        text = "1 while the state of the deployment can be read from the database; without it, its gauges are missing."
        yield gauges.single("exporter_database_up", text, float(latest.facts is not None))
        yield gauges.single("exporter_read_seconds", "Seconds of the last reading of the database.", latest.took)
        if latest.facts:
            yield from gauges.of_facts(latest.facts, self._queues(latest.facts))

    def _queues(self, facts: Facts) -> Sequence[str]:
        own = [queue for each in facts.services for queue in self._names.server_queues(each.server)]
        return list(dict.fromkeys([*own, *self._names.event_keys()]))


@running.program
def main() -> None:
    configuration.add_metrics_flag()
    conf = configuration.load(sys.argv[1:], "snapmanage-exporter")
    host, port = _address(conf)
    gauges.require_library()
    db = configuration.database(conf)
    reader = Reader(Application(db, OutboxWriter(), configuration.rules(conf)), conf.exporter.interval_seconds)
    page = Page(lambda: reader.latest, configuration.names(conf))
    with StatusServer(host, port, {"/metrics": page}) as server:
        reader.start()
        running.until_stopped(f"ready: http://{server.address}/metrics")
        reader.stop()
    running.exit_now()  # a reading may still wait for the database


def _address(conf: cfg.ConfigOpts) -> tuple[str, int]:
    if not conf.metrics.listen:
        raise errors.ConfigurationError(
            "[metrics] listen is missing; give --metrics-listen the address of the page, such as 127.0.0.1:9801"
        )
    return parse_listen(conf.metrics.listen, "[metrics] listen")
