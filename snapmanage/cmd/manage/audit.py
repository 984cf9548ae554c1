"""snapmanage-manage audit: list and verify the audit log."""

import argparse
import json
from datetime import timedelta
from typing import Any

from oslo_config import cfg

from snapmanage.audit import verification
from snapmanage.cmd.wiring import parts
from snapmanage.core.audit.chain import Head
from snapmanage.core.audit.completeness import Finding, Kind
from snapmanage.core.values.text import readable

# The exit code of a verification is that of its worst finding.
BROKEN, INCOMPLETE, FORGED = 1, 2, 3
EXIT_CODES = {Kind.BROKEN: BROKEN, Kind.FORGED: FORGED, Kind.INCOMPLETE: INCOMPLETE, Kind.NOTE: 0}

_DESCRIPTION = f"""Check the audit log against itself and against the records.

BROKEN      a row was changed, removed or inserted, or the head is missing: exit code {BROKEN}
FORGED      an event was never announced, or contradicts the record or another event: exit code {FORGED}
INCOMPLETE  an event that was announced is missing: exit code {INCOMPLETE}
NOTE        rows were purged, or an event is not yet recorded: exit code 0

The exit code is that of the first kind in this list that was found.
"""


def add_commands(commands: Any) -> None:
    """Add `audit` and its actions to the parser."""
    actions = commands.add_parser("audit", help="list or verify the audit log").add_subparsers(
        dest="action", required=True
    )
    newest = actions.add_parser("list", help="print the newest events, each as a JSON object on one line")
    newest.add_argument("--limit", type=int, default=100, help="print at most this many events (default: %(default)s)")
    newest.add_argument("--snapshot", help="print only the events of the snapshot with this id")
    newest.set_defaults(run=_list)
    head = actions.add_parser("head", help="print the end of the chain as NUMBER:DIGEST, to be kept elsewhere")
    head.set_defaults(run=_head)
    verify = actions.add_parser(
        "verify",
        help="check that the chain is unbroken, that no event is missing and that none is forged",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument(
        "--since", metavar="NUMBER:DIGEST", help="require that row NUMBER has this digest, and read only later rows"
    )
    verify.add_argument(
        "--in-flight-seconds",
        type=int,
        default=300,
        help="a missing event of a record that changed within this time is not yet recorded; a longer time hides rows "
        "that were cut off lately, a shorter one reports events that are on their way (default: %(default)s)",
    )
    verify.set_defaults(run=_verify)


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        entries = verification.trail(db, conf.command.limit, conf.command.snapshot)
    for entry in entries:
        print(json.dumps({"number": entry.number, "event_type": entry.event_type} | entry.payload))


def _head(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        print(verification.head(db))


def _verify(conf: cfg.ConfigOpts) -> int:
    since = Head.parse(conf.command.since) if conf.command.since else None
    found: set[Kind] = set()
    with parts.opened_database(conf) as db, verification.opened(db) as log:
        for finding in log.findings(since, timedelta(seconds=conf.command.in_flight_seconds)):
            found.add(finding.kind)
            _print(finding)
        if log.state:
            print(f"{log.state.head.number - log.state.base.number} rows, head {log.state.head}")
    return next((code for kind, code in EXIT_CODES.items() if kind in found), 0)


def _print(finding: Finding) -> None:
    print(f"{finding.kind.value}: {readable(finding.text)}")
