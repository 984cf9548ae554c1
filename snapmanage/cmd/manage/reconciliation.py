"""snapmanage-manage reconcile: where records and backends disagree."""

import argparse
import logging
import sys
from typing import Any

from oslo_config import cfg
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import errors
from snapmanage.cmd.wiring import configuration, parts
from snapmanage.core.reconciliation import Difference
from snapmanage.drivers.protocol import Driver
from snapmanage.manage import reconciliation
from snapmanage.manage.application import Application, OutboxWriter

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
record. --fix gives a RENAMED snapshot its name back, unless it isn't listed any more, was asked back, has
several names or is another record's. It unmanages a VANISHED one, unless its record is on another storage than
the backend is now. It records the size of an UNSIZED one. The others are for a person to decide.
"""


def add_commands(commands: Any) -> None:
    """Add `reconcile` to the parser."""
    compare = commands.add_parser(
        "reconcile",
        help="compare records with the enabled backends, on the machine that reaches them; "
        f"exit code {FOUND} when they disagree, {UNKNOWN} when there is a backend that can't be asked",
        description=_RECONCILE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument(
        "--fix",
        action="store_true",
        help="rename back what was RENAMED, unmanage what has VANISHED, record the size of what was UNSIZED",
    )
    compare.add_argument("--mend", action="store_true", help=argparse.SUPPRESS)
    compare.set_defaults(run=_reconcile)


def _reconcile(conf: cfg.ConfigOpts) -> int:
    from snapmanage.drivers.system import privsep

    if conf.command.mend:
        print("warning: --mend is deprecated and goes with the next release; use --fix", file=sys.stderr)
    fix = conf.command.fix or conf.command.mend
    privsep.start()
    with parts.opened_database(conf) as db:
        app = Application(db, OutboxWriter(), configuration.rules(conf))
        backends = configuration.backends(conf).items()
        return max(_compare(app, server, driver, fix) for server, (_, driver, _) in backends)


def _compare(app: Application, server: str, driver: Driver, fix: bool) -> int:
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
        if fix:
            print(f"  {_fixed(app, driver, difference)}")
    return FOUND if found else 0


def _fixed(app: Application, driver: Driver, difference: Difference) -> str:
    try:
        return reconciliation.fix(app, driver, difference)
    except errors.SnapmanageError as error:
        return f"It can't be fixed: {error}"
