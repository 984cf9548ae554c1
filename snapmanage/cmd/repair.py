"""snapmanage-manage stuck and reconcile: what is late, and where records and backends disagree."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from oslo_config import cfg

from snapmanage import errors
from snapmanage.cmd import configuration, parts
from snapmanage.core import lateness, reconciliation
from snapmanage.core.reconciliation import Difference, Kind
from snapmanage.core.records import Record, Snapshot, Volume
from snapmanage.core.reference import Reference
from snapmanage.drivers.base import Driver
from snapmanage.manage import requests
from snapmanage.manage.site import Outlet, Site
from snapmanage.store import outbox, records, services
from snapmanage.store.database import Database

FOUND = 2


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
        f"exit code {FOUND} when they disagree",
    )
    compare.add_argument("--mend", action="store_true", help="rename back what was renamed, unmanage what is gone")
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
    db = parts.open_database(conf)
    with db.read() as conn:
        now, known = db.clock(conn), {service.server: service for service in services.all_of(conn)}
        under_way: list[Record] = [*records.in_progress(conn, Volume), *records.in_progress(conn, Snapshot)]
        casts = outbox.waiting_casts(conn)
        undelivered = outbox.older_than(conn, now - patience)
    found = [
        late
        for record in under_way
        if (late := lateness.late(record, now, patience, casts.get(record.id), known.get(record.server), down))
    ]
    for late in found:
        kind = type(late.record).__name__
        print(f"{kind} {late.record.id} is {late.record.status.value} since {late.since.isoformat()}: {late.why}")
    if undelivered:
        print(f"{undelivered} messages are in the outbox for longer than that: see whether broker and relays are up")
    return FOUND if found or undelivered else 0


def _reconcile(conf: cfg.ConfigOpts) -> int:
    from snapmanage.drivers import privileged

    privileged.start()
    site = Site(parts.open_database(conf), Outlet(), configuration.rules(conf))
    found = 0
    for server, (_, driver, _) in configuration.backends(conf).items():
        for difference in _differences(site.db, server, driver):
            found += 1
            print(f"{difference.kind.value}: snapshot {difference.snapshot.id} on {server}: {difference.text}")
            if conf.command.mend:
                print(f"  {_mend(site, driver, difference)}")
    return FOUND if found else 0


def _differences(db: Database, server: str, driver: Driver) -> list[Difference]:
    before = _resolved(db, server)
    seen = driver.list_snapshots()
    still = reconciliation.settled(before, _resolved(db, server))
    return [each for each in reconciliation.differences(still, seen) if not _there_all_the_same(driver, each)]


def _resolved(db: Database, server: str) -> Sequence[Snapshot]:
    with db.read() as conn:
        return records.resolved(conn, server)


def _there_all_the_same(driver: Driver, difference: Difference) -> bool:
    """Whether what looks gone is found by name: not every snapshot is listed, such as one whose volume is gone."""
    if difference.kind is not Kind.VANISHED:
        return False
    try:
        there = driver.find_snapshot(Reference.named(difference.snapshot.backend_name or ""))
    except errors.Invalid:
        return False
    return there.identity == difference.snapshot.backend_id


def _mend(site: Site, driver: Driver, difference: Difference) -> str:
    try:
        if difference.kind is Kind.RENAMED and difference.binding:
            return f"It is called {driver.manage_snapshot(difference.binding).name!r} again."
        if difference.kind is Kind.VANISHED:
            requests.unmanage(site, difference.snapshot.id, difference.snapshot.requester, everywhere=True)
            return "It is being unmanaged."
    except errors.SnapmanageError as error:
        return f"It can't be mended: {error}"
    return "This is for a person to decide: unmanage a record, or rename the object."


COMMANDS: Mapping[tuple[str, str], Callable[[cfg.ConfigOpts], int | None]] = {
    ("stuck", ""): _stuck,
    ("reconcile", ""): _reconcile,
}
