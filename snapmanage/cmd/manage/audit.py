"""snapmanage-manage audit: the audit log."""

import json
from typing import Any

from oslo_config import cfg

from snapmanage import audit
from snapmanage.cmd.wiring import parts

BROKEN, INCOMPLETE = 1, 2


def add_commands(commands: Any) -> None:
    """Add `audit` and its actions to the parser."""
    actions = commands.add_parser("audit", help="the audit log").add_subparsers(dest="action", required=True)
    newest = actions.add_parser("list", help="print the newest events, one JSON object a line")
    newest.add_argument("--limit", type=int, default=100, help="how many at most (default: %(default)s)")
    newest.add_argument("--snapshot", help="only those of this snapshot's id")
    newest.set_defaults(run=_list)
    verify = actions.add_parser(
        "verify",
        help="check the chain, and that no event is missing; "
        f"exit code {BROKEN}: the chain is broken, {INCOMPLETE}: events or endings are missing",
    )
    verify.set_defaults(run=_verify)


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        entries = audit.trail(db, conf.command.limit, conf.command.snapshot)
    for entry in entries:
        print(json.dumps({"number": entry.number, "event_type": entry.event_type} | entry.payload))


def _verify(conf: cfg.ConfigOpts) -> int:
    with parts.opened_database(conf) as db:
        head, broken, gaps = audit.verify(db)
    if broken:
        print(f"BROKEN: {broken}")
    for gap in gaps:
        print(f"INCOMPLETE: snapshot {gap.snapshot_id}: {gap.reason}")
    print(f"{head.number} rows, head {head.digest}")
    return BROKEN if broken else INCOMPLETE if gaps else 0
