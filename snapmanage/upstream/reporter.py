"""Send due reports to the upstream API until it has taken them; each has one sender at a time."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import crash
from snapmanage.core.upstream import Report, Result, Verdict
from snapmanage.core.values.logfields import fields
from snapmanage.core.values.retry import Retry
from snapmanage.core.values.text import readable
from snapmanage.crash import Point
from snapmanage.pulse import Pulse
from snapmanage.store import upstream as reports
from snapmanage.store.engine.database import Database
from snapmanage.upstream.client import UpstreamClient
from snapmanage.upstream.delivery import deliver

LOG = logging.getLogger(__name__)

# An attempt has up to three requests. A lease that ends while its attempt still runs lets a report be sent twice.
REQUESTS_PER_ATTEMPT = 3
LEASE_MARGIN_SECONDS = 10
# A report that fails alone is retried after a minute at most, and so is every report while the upstream is away.
BACK_OFF = Retry(1, timedelta(seconds=1), timedelta(minutes=1))


class Reporter:
    """A thread that sends up to `parallel` reports at once, and reads the table every `interval_seconds`."""

    def __init__(
        self,
        db: Database,
        upstream: UpstreamClient,
        interval_seconds: float = 1.0,
        parallel: int = 4,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._db = db
        self._upstream = upstream
        self._interval = interval_seconds
        self._parallel = parallel
        self._lease = timedelta(seconds=REQUESTS_PER_ATTEMPT * timeout_seconds + LEASE_MARGIN_SECONDS)
        self._failures = 0
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(parallel, "report")
        self.pulse = Pulse("reporter", self._lease.total_seconds())
        self._thread = threading.Thread(target=self.pulse.watched(self._run), name="reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float = 2) -> None:
        """Finish the attempts that run; reports that aren't delivered are sent later."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def send_due(self) -> float:
        """Send the reports that are due, up to `parallel`; return the seconds to wait before the next call."""
        taken = self._db.write(lambda conn, now: reports.take(conn, now, now + self._lease, self._parallel))
        if not taken:
            return self._interval
        crash.at(Point.REPORTS_TAKEN)
        verdicts = list(self._pool.map(self._attempt, taken))
        crash.at(Point.REPORTS_SENT)
        away = [verdict for verdict in verdicts if verdict.result is Result.AWAY]
        self._failures = self._failures + 1 if len(away) == len(taken) else 0
        pause = BACK_OFF.delay(self._failures).total_seconds() if self._failures else 0.0
        pause = max([pause, *(verdict.retry_after or 0.0 for verdict in away)])
        pairs = list(zip(taken, verdicts, strict=True))
        self._db.write(lambda conn, now: self._write(conn, now, pairs, pause))
        self._log(pairs, pause)
        return pause

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self.pulse:
                    pause = self.send_due()
            except SQLAlchemyError as error:
                LOG.warning("Database error in the reporter; reports are sent later: %s", fields(reason=error))
                pause = self._interval
            except Exception:
                LOG.exception("Reporter loop failed; reports stay in the database and are sent later.")
                pause = self._interval
            self._stopping.wait(pause)

    def _attempt(self, report: Report) -> Verdict:
        """Return the result of an attempt; an unexpected error must not keep the results of other reports."""
        try:
            return deliver(report, self._upstream)
        except Exception as error:
            LOG.exception("Report failed unexpectedly; it is retried: %s", fields(snapshot=report.snapshot_id))
            return Verdict(Result.FAILED, readable(f"{type(error).__name__}: {error}"))

    def _write(self, conn: Connection, now: datetime, pairs: Sequence[tuple[Report, Verdict]], pause: float) -> None:
        reports.forget(conn, [report for report, each in pairs if each.result in _ENDS])
        for report, verdict in pairs:
            match verdict.result:
                case Result.REFUSED:
                    reports.postpone(conn, report, None, verdict.text)
                case Result.AWAY | Result.FAILED:
                    least = timedelta(seconds=max(pause, verdict.retry_after or 0.0))
                    delay = max(BACK_OFF.delay(report.attempts + 1), least)
                    reports.postpone(conn, report, now + delay, verdict.text)

    def _log(self, pairs: Sequence[tuple[Report, Verdict]], pause: float) -> None:
        away = [(report, verdict) for report, verdict in pairs if verdict.result is Result.AWAY]
        if away:
            values = fields(retry_seconds=pause, reports=len(away), reason=readable(away[0][1].text))
            LOG.warning("The upstream API takes no reports; they are retried: %s", values)
        for report, verdict in pairs:
            if line := _LINES.get(verdict.result):
                level, text = line
                shown = fields(snapshot=report.snapshot_id, status=report.status, report=report.id)
                LOG.log(level, "%s: %s %s", text, shown, fields(reason=verdict.text or None))


_ENDS = (Result.TAKEN, Result.MOOT, Result.GONE)
_LINES = {
    Result.TAKEN: (logging.INFO, "The upstream API has taken an outcome"),
    Result.MOOT: (logging.WARNING, "An outcome was dropped, since the upstream's record has changed meanwhile"),
    Result.GONE: (logging.WARNING, "An outcome was dropped, since the upstream has no such snapshot any more"),
    Result.FAILED: (logging.WARNING, "The upstream API failed for an outcome, which is retried"),
    Result.REFUSED: (
        logging.ERROR,
        "The upstream API refuses an outcome, which waits for `snapmanage-manage upstream retry` or `drop`",
    ),
}
