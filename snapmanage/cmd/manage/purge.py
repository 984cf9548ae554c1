"""snapmanage-manage purge: delete old rows that nothing needs any more."""

import argparse
from datetime import timedelta
from typing import Any

from oslo_config import cfg

from snapmanage import errors
from snapmanage.cmd.manage import formats
from snapmanage.cmd.manage.formats import Report
from snapmanage.cmd.process import arguments
from snapmanage.cmd.wiring import configuration, parts
from snapmanage.core.maintenance.purge import MINIMUM_AGE, Kind
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.maintenance import purge
from snapmanage.manage.maintenance.purge import Plan, Result

MOST_DAYS = 36500
DEFAULT_DAYS = 90
KINDS = {
    Kind.QUARANTINE: "messages in the quarantine; a cast of an upstream API among them is lost for good",
    Kind.TOMBSTONES: "tombstones of unmanaged snapshots and volumes, with their user messages",
    Kind.FAILED: "snapshots and volumes that could not be managed, with their user messages",
    Kind.MESSAGES: "user messages",
    Kind.KEYS: "expired idempotency keys",
    Kind.SUSPECTS: "counts of attempts at redelivered messages",
    Kind.SERVICES: "servers without heartbeats that have no records",
}

_DESCRIPTION = """Delete old rows in small batches, while everything runs.

The command can be interrupted at any moment and repeated. It keeps each record that a late cast, an unsent message,
a quarantined message or a snapshot may still refer to, and prints the reason.
"""


def add_commands(commands: Any) -> None:
    """Add `purge` to the parser."""
    parser = commands.add_parser(
        "purge",
        help="delete old tombstones, failed records, user messages and other rows that nothing needs any more",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for kind, rows in KINDS.items():
        parser.add_argument(f"--{_name(kind)}", action="store_true", help=f"purge {rows}")
    parser.add_argument(
        "--older-than",
        type=arguments.whole_number(MINIMUM_AGE.days, MOST_DAYS, "number of days"),
        default=DEFAULT_DAYS,
        metavar="DAYS",
        help=f"age from which rows are deleted, at least {MINIMUM_AGE.days} days (default: {DEFAULT_DAYS})",
    )
    parser.add_argument(
        "--limit",
        type=arguments.whole_number(1, arguments.LARGEST, "number of rows"),
        metavar="N",
        help="delete at most N rows of each kind",
    )
    parser.add_argument(
        "--gone",
        action="append",
        type=arguments.name,
        default=[],
        metavar="HOST@BACKEND",
        help="name of a server that never comes back, and whose queue is deleted; its records are purged too. Can be "
        "repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the numbers of rows, and delete nothing")
    formats.add_option(parser)
    parser.set_defaults(run=_purge)


def _name(kind: Kind) -> str:
    return kind.name.lower()


def _purge(conf: cfg.ConfigOpts) -> None:
    given = conf.command
    kinds = [kind for kind in KINDS if getattr(given, _name(kind))]
    if not kinds:
        raise errors.InvalidRequest(f"purge requires one of {', '.join(f'--{_name(kind)}' for kind in KINDS)}")
    plan = Plan(timedelta(days=given.older_than), frozenset(given.gone), given.limit, given.dry_run)
    with parts.opened_database(conf) as db, formats.report(conf) as report:
        for result in purge.purge(Application(db, OutboxWriter(), configuration.rules(conf)), kinds, plan):
            _add(report, result, plan.dry_run)


def _add(report: Report, result: Result, dry_run: bool) -> None:
    deleted, kept = ("would delete", "would keep") if dry_run else ("deleted", "kept")
    messages = f", with {result.messages} {Kind.MESSAGES.value}" if result.messages else ""
    obstacles = {
        obstacle.value: number for obstacle, number in sorted(result.kept.items(), key=lambda each: each[0].name)
    }
    report.add(
        f"{result.kind.value}  {deleted} {result.deleted}{messages}",
        *(f"{result.kind.value}  {kept} {number}: {reason}" for reason, number in obstacles.items()),
        kind=_name(result.kind),
        deleted=result.deleted,
        user_messages=result.messages,
        kept=obstacles,
        dry_run=dry_run,
    )
