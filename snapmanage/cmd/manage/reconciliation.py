"""snapmanage-manage reconcile: compare records with backends, and fix differences."""

import argparse
import logging
from typing import Any

from oslo_config import cfg
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import errors
from snapmanage.cmd.manage import formats
from snapmanage.cmd.manage.formats import Report
from snapmanage.cmd.process import output
from snapmanage.cmd.wiring import configuration, parts, unserved
from snapmanage.core.maintenance.reconciliation import Difference
from snapmanage.drivers.protocol import Driver
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.maintenance import hosts, reconciliation

LOG = logging.getLogger(__name__)

UNKNOWN, FOUND = 1, 2

_DESCRIPTION = """Compare the records of the enabled backends with the objects on them, on the host that reaches them.

VANISHED  nothing on the backend has the snapshot's name or its identity
RENAMED   the snapshot exists under another name
REPLACED  the snapshot is nowhere on the backend, and another object has its name
TWICE     two records manage one object, of this server or of another server on the same storage
UNOWNED   an object has the managed name of a record that does not manage it
UNSIZED   the backend did not know the snapshot's size when it was managed, and knows it now
UNSERVED  a host has records, is not one of the compared backends, and no server serves it

A snapshot that exists under its name but is not listed any more agrees with its record. This happens, for
example, when its volume was removed.

--fix renames a RENAMED snapshot back, unless it is not listed any more, has a request to unmanage it, has several
names, or belongs to another record. --fix unmanages a VANISHED snapshot, unless its record is on another storage
than the backend is now. --fix records the size of an UNSIZED snapshot. A person must decide about the others.
"""


def add_commands(commands: Any) -> None:
    """Add `reconcile` to the parser."""
    parser = commands.add_parser(
        "reconcile",
        help="compare records with the enabled backends, on the host that reaches them; "
        f"exit code {FOUND} if they disagree, {UNKNOWN} if a backend could not be queried and nothing else disagrees",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="rename RENAMED snapshots back, unmanage VANISHED ones, record the sizes of UNSIZED ones",
    )
    parser.add_argument("--mend", action="store_true", help=argparse.SUPPRESS)
    formats.add_option(parser)
    parser.set_defaults(run=_reconcile)


def _reconcile(conf: cfg.ConfigOpts) -> int:
    from snapmanage.drivers.system import privsep

    if conf.command.mend:
        output.warning("--mend is deprecated, and the next release removes it; use --fix")
    fix = conf.command.fix or conf.command.mend
    privsep.start()
    with parts.opened_database(conf) as db, formats.report(conf) as report:
        app = Application(db, OutboxWriter(), configuration.rules(conf))
        backends = configuration.backends(conf).items()
        worst = max(_compare(app, server, driver, fix, report) for server, (_, driver, _) in backends)
        code = max(worst, _add_unserved(conf, app, report))
    if not code:
        output.note(f"The records of {', '.join(server for server, _ in backends)} agree with their backends.")
    return code


def _add_unserved(conf: cfg.ConfigOpts, app: Application, report: Report) -> int:
    """Report the hosts with records that no server serves, besides the backends that are compared here."""
    found = hosts.unserved(app, unserved.own_servers(conf))
    for each in found:
        report.add(f"UNSERVED: {unserved.text(conf, each)}", kind="UNSERVED", server=each.server)
    return FOUND if found else 0


def _compare(app: Application, server: str, driver: Driver, fix: bool, report: Report) -> int:
    """Print the differences of one backend; a backend that fails does not keep the others from being compared."""
    try:
        found = reconciliation.differences(app.db, server, driver)
    except SQLAlchemyError:
        raise
    except Exception as error:
        if not isinstance(error, errors.SnapmanageError):
            LOG.exception("Comparing the records of %s with its backend failed unexpectedly.", server)
        output.error(f"{server} can't be compared: {error}")
        return UNKNOWN
    for each in found:
        line = f"{each.kind.value}: snapshot {each.snapshot.id} on {server}: {each.text}"
        fields = {"kind": each.kind, "snapshot_id": each.snapshot.id, "server": server, "text": each.text}
        if fix:
            result = _fix(app, driver, each)
            report.add(line, f"  {result}", **fields, result=result)
        else:
            report.add(line, **fields)
    return FOUND if found else 0


def _fix(app: Application, driver: Driver, difference: Difference) -> str:
    try:
        return reconciliation.fix(app, driver, difference)
    except errors.SnapmanageError as error:
        return f"Not fixed: {error}"
