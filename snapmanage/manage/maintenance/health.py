"""The state of the deployment, for `snapmanage-manage health`, the exporter and other readers."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from snapmanage.core.audit import chain
from snapmanage.core.audit.chain import ChainCheck, Head, LogState
from snapmanage.core.maintenance import health
from snapmanage.core.maintenance.health import IN_FLIGHT, PATIENCE, RECENT, Audit, Facts
from snapmanage.manage.application import Application
from snapmanage.store import health as counts
from snapmanage.store import services
from snapmanage.store.audit import log
from snapmanage.store.health import Announced

# Rows of the audit log that one reading checks at the end of the chain, and as many anywhere else.
ROWS_AT_ONCE = 1000
# The first reading compares the operations of this time with the audit log.
FIRST_LOOK = timedelta(days=1)
# A transaction may commit a step so long after the time of the step.
COMMIT_TIME = timedelta(seconds=60)
# Unrecorded events that are remembered from one reading to the next.
MOST_REMEMBERED = 10_000

NO_HEAD = "the row of table audit_head is missing; restore audit and audit_head from a backup"


@dataclass(frozen=True)
class Progress:
    """The place of the audit log that a series of readings has reached.

    `position` is the last row up to which this round has followed the chain, None before the first reading. `broken` is
    the first break of this round, `broken_before` that of the round before. Operations that ended before `since` are
    recorded, except the `unrecorded` ones by the id of their snapshot.
    """

    position: Head | None = None
    broken: str | None = None
    broken_before: str | None = None
    since: datetime | None = None
    unrecorded: Mapping[str, Announced] = field(default_factory=dict)


def read(app: Application, progress: Progress | None = None) -> tuple[Facts, Progress]:
    """Return the facts, and the progress from which the next reading continues."""
    with app.db.read(at_one_moment=True) as conn:
        now = app.db.clock(conn)
        known, snapshots = services.all_of(conn), counts.amounts(conn)
        down_after = app.rules.service_down
        servers = {each.server for each in known} | {server for server, _ in snapshots}
        late = counts.late(conn, servers, now, now - PATIENCE)
        audit, followed = _follow_audit(conn, now, servers, progress or Progress())
        facts = Facts(
            now=now,
            down_after=down_after,
            services=known,
            snapshots=snapshots,
            late=health.with_reasons(late, known, now, down_after),
            oldest_due=counts.oldest_due(conn, servers, now),
            settled=counts.settled_since(conn, servers, now - RECENT),
            outbox=counts.waiting_messages(conn),
            quarantine=counts.quarantined(conn),
            audit=audit,
        )
    return facts, followed


def _follow_audit(conn: Connection, now: datetime, servers: Set[str], progress: Progress) -> tuple[Audit, Progress]:
    """Compare recent operations with the log, and follow its chain at its end and for some rows elsewhere.

    The whole chain is too long for one reading. A series of readings follows it in rounds from the base to the head.
    A break counts until a whole round has found none.
    """
    compared = _compare(conn, now, servers, progress)
    state = log.state(conn)
    ages = [now - each.step_at for each in compared.unrecorded.values() if not each.is_waiting]
    audit = Audit(
        head=state.head.number if state else None,
        lag=max(ages, default=timedelta(0)),
        unrecorded=len(ages),
        missing=sum(age > IN_FLIGHT for age in ages),
    )
    if state is None:
        return replace(audit, broken=NO_HEAD), compared
    at_the_end, followed = _follow_chain(conn, state, compared)
    return replace(audit, broken=at_the_end or followed.broken or followed.broken_before), followed


def _compare(conn: Connection, now: datetime, servers: Set[str], progress: Progress) -> Progress:
    """Return the progress with the events that the log lacks now; those in the outbox are among them."""
    since = progress.since or now - FIRST_LOOK
    known = counts.still_unrecorded(conn, progress.unrecorded.keys()) if progress.unrecorded else []
    found = counts.unrecorded(conn, servers, since) if len(known) < MOST_REMEMBERED else []
    if len(found) < counts.MOST_EVENTS and len(known) < MOST_REMEMBERED:
        since = max(since, now - COMMIT_TIME)
    elif found:
        since = max(since, found[-1].step_at)
    return replace(progress, since=since, unrecorded={each.snapshot_id: each for each in (*known, *found)})


def _follow_chain(conn: Connection, state: LogState, progress: Progress) -> tuple[str | None, Progress]:
    """Return the first break among the last rows, and the progress behind the next rows of this round."""
    base, head = state.base, state.head
    last_rows = max(base.number, head.number - ROWS_AT_ONCE)
    start = _entry(conn, last_rows, base)
    if start is None:
        return f"row {last_rows} is missing", progress
    at_the_end = chain.first_break(log.entries(conn, start.number, head.number), head, start)
    position = progress.position
    if position is None or not base.number <= position.number <= last_rows:
        return at_the_end, replace(progress, position=base)
    return at_the_end, _followed(conn, position, last_rows, base, progress)


def _entry(conn: Connection, number: int, base: Head) -> Head | None:
    if number == base.number:
        return base
    return next((Head(each.number, each.digest) for each in log.numbered(conn, [number])), None)


def _followed(conn: Connection, position: Head, last_rows: int, base: Head, progress: Progress) -> Progress:
    """Return the progress behind `ROWS_AT_ONCE` more rows, or at the base for a new round."""
    until = min(position.number + ROWS_AT_ONCE, last_rows)
    check = ChainCheck(position)
    for entry in log.entries(conn, position.number, until):
        check.follow(entry)
    missing = f"row {check.last.number + 1} is missing" if check.last.number < until else None
    broken = progress.broken or check.broken or missing
    if until < last_rows and not missing:
        return replace(progress, position=check.last, broken=broken)
    return replace(progress, position=base, broken=None, broken_before=broken)
