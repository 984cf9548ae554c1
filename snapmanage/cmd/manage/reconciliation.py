"""snapmanage-manage stuck and reconcile: what is late, and where records and backends disagree."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from oslo_config import cfg
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import errors
from snapmanage.cmd.wiring import configuration, parts
from snapmanage.core.reconciliation import Difference, Kind
from snapmanage.core.records import Record, Snapshot, Volume
from snapmanage.core.stuck import explain
from snapmanage.drivers.protocol import Driver
from snapmanage.manage import reconciliation, requests
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.store import outbox, records, services

LOG = logging.getLogger(__name__)

UNKNOWN, FOUND = 1, 2

_RECONCILE = """Compare records with the enabled backends, on the machine that reaches them.

VANISHED  nothing on the backend has the snapshot's name or its identity
RENAMED   the snapshot is there under another name
REPLACED  the snapshot is nowhere on the backend, and another object has its name
TWICE     two records manage one object, here or at another server of the same storage
UNOWNED   an object has the managed name of a record that doesn't manage it
UNSIZED   the backend didn't know the snapshot's size when it was managed, and knows it now

A snapshot that is there under its name but isn't listed any more (its volume was removed, say) agrees with its
record. --mend gives a RENAMED snapshot its name back, unless it isn't listed any more, was asked back, has
several names or is another record's. It unmanages a VANISHED one, unless its record is on another storage than
the backend is now. It records the size of an UNSIZED one. The others are for a person to decide.
"""


def add_commands(commands: Any) -> None:
    """Both commands, for the parser of all."""
    stuck = commands.add_parser("stuck", help=f"print what is late, and why; exit code {FOUND} when something is")
    stuck.add_argument(
        "--older-than", type=_seconds, default=60.0, metavar="SECONDS", help="what counts as late (default: 60)"
    )
    stuck.set_defaults(action="")
    compare = commands.add_parser(
        "reconcile",
        help="compare records with the enabled backends, on the machine that reaches them; "
        f"exit code {FOUND} when they disagree, {UNKNOWN} when there is a backend that can't be asked",
        description=_RECONCILE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument(
        "--mend",
        action="store_true",
        help="rename back what was RENAMED, unmanage what has VANISHED, record the size of what was UNSIZED",
    )
    compare.set_defaults(action="")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 10**9:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, not {text!r}")
    return value


def _stuck(conf: cfg.ConfigOpts) -> int:
    patience, down = timedelta(seconds=conf.command.older_than), configuration.rules(conf).service_down
    with parts.opened_database(conf) as db, db.read() as conn:
        now, known = db.clock(conn), {service.server: service for service in services.all_of(conn)}
        under_way: list[Record] = [*records.in_progress(conn, Volume), *records.in_progress(conn, Snapshot)]
        casts = outbox.waiting_casts(conn)
        undelivered = outbox.older_than(conn, now - patience)
    found = [
        late
        for record in under_way
        if (late := explain(record, now, patience, casts.get(record.id), known.get(record.server), down))
    ]
    for late in found:
        kind = type(late.record).__name__
        print(f"{kind} {late.record.id} is {late.record.status.value} since {late.since.isoformat()}: {late.why}")
    if undelivered:
        print(f"{undelivered} messages are in the outbox for longer than that: see whether broker and relays are up")
    return FOUND if found or undelivered else 0


def _reconcile(conf: cfg.ConfigOpts) -> int:
    from snapmanage.drivers.system import privsep

    privsep.start()
    with parts.opened_database(conf) as db:
        app = Application(db, OutboxWriter(), configuration.rules(conf))
        backends = configuration.backends(conf).items()
        return max(_compare(app, server, driver, conf.command.mend) for server, (_, driver, _) in backends)


def _compare(app: Application, server: str, driver: Driver, mend: bool) -> int:
    """Tell of one backend; one that fails keeps nobody from hearing of the others."""
    try:
        found = reconciliation.differences(app.db, server, driver)
    except SQLAlchemyError:
        raise
    except Exception as error:
        if not isinstance(error, errors.SnapmanageError):
            LOG.exception("%s can't be compared.", server)
        print(f"error: {server} can't be compared: {error}", file=sys.stderr)
        return UNKNOWN
    for difference in found:
        print(f"{difference.kind.value}: snapshot {difference.snapshot.id} on {server}: {difference.text}")
        if mend:
            print(f"  {_mend(app, driver, difference)}")
    return FOUND if found else 0


def _mend(app: Application, driver: Driver, difference: Difference) -> str:
    try:
        if difference.kind is Kind.RENAMED and difference.binding:
            return f"It is called {driver.manage_snapshot(difference.binding).name!r} again."
        if difference.kind is Kind.VANISHED and difference.certain:
            requests.unmanage(app, difference.snapshot.id, difference.snapshot.requester, everywhere=True)
            return "It is being unmanaged."
        if difference.size_gb is not None:
            sized = reconciliation.record_size(app.db, difference.snapshot, difference.size_gb)
            return "Its size is recorded." if sized else "It has changed meanwhile; run reconcile again."
    except errors.SnapmanageError as error:
        return f"It can't be mended: {error}"
    return "This is for a person to decide: unmanage the record, or rename the object."


COMMANDS: Mapping[tuple[str, str], Callable[[cfg.ConfigOpts], int | None]] = {
    ("stuck", ""): _stuck,
    ("reconcile", ""): _reconcile,
}
