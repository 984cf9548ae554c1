"""snapmanage-manage audit: list and verify the audit log."""

import json
from typing import Any

from oslo_config import cfg

from snapmanage.audit import verification
from snapmanage.cmd.wiring import parts

BROKEN, INCOMPLETE = 1, 2


def add_commands(commands: Any) -> None:
    """Add `audit` and its actions to the parser."""
    actions = commands.add_parser("audit", help="list or verify the audit log").add_subparsers(
        dest="action", required=True
    )
    newest = actions.add_parser("list", help="print the newest events, each as a JSON object on one line")
    newest.add_argument("--limit", type=int, default=100, help="print at most this many events (default: %(default)s)")
    newest.add_argument("--snapshot", help="print only the events of the snapshot with this id")
    newest.set_defaults(run=_list)
    verify = actions.add_parser(
        "verify",
        help="check that the chain is unbroken and that no event is missing; "
        f"exit code {BROKEN} if the chain is broken, {INCOMPLETE} if events are missing",
    )
    verify.set_defaults(run=_verify)


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        entries = verification.trail(db, conf.command.limit, conf.command.snapshot)
    for entry in entries:
        print(json.dumps({"number": entry.number, "event_type": entry.event_type} | entry.payload))


def _verify(conf: cfg.ConfigOpts) -> int:
    with parts.opened_database(conf) as db:
        head, broken, gaps = verification.verify(db)
    if broken:
        print(f"BROKEN: {broken}")
    for gap in gaps:
        print(f"INCOMPLETE: snapshot {gap.snapshot_id}: {gap.reason}")
    print(f"{head.number} rows, head {head.digest}")
    return BROKEN if broken else INCOMPLETE if gaps else 0
