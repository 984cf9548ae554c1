"""snapmanage-manage stuck: report stuck operations and messages."""

from datetime import timedelta
from typing import Any

from oslo_config import cfg

from snapmanage.cmd.process import arguments, output
from snapmanage.cmd.wiring import configuration, parts, unserved
from snapmanage.core.maintenance.stuck import explain_report
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.maintenance import stuck

FOUND = 2


def add_commands(commands: Any) -> None:
    """Add `stuck` to the parser."""
    parser = commands.add_parser(
        "stuck",
        help="print stuck operations, unreported outcomes and hosts that are not served, and count stuck messages; "
        f"exit code {FOUND} if any",
    )
    parser.add_argument(
        "--older-than",
        type=arguments.seconds,
        default=60.0,
        metavar="SECONDS",
        help="age from which an operation or a message counts as stuck (default: 60)",
    )
    parser.set_defaults(run=_stuck)


def _stuck(conf: cfg.ConfigOpts) -> int:
    with parts.opened_database(conf) as db:
        app = Application(db, OutboxWriter(), configuration.rules(conf))
        found = stuck.find(app, timedelta(seconds=conf.command.older_than))
    for each in found.operations:
        kind, status = type(each.record).__name__, each.record.status.value
        output.line(f"{kind} {each.record.id} has been {status} since {each.since.isoformat()}: {each.why}")
    for report in found.unreported:
        output.line(
            f"Snapshot {report.snapshot_id} is not reported as {report.status} to the upstream API since "
            f"{report.created_at.isoformat()}: {explain_report(report, bool(conf.upstream.endpoint))}"
        )
    for host in found.unserved:
        output.line(unserved.text(conf, host, serves=False))
    if found.undelivered:
        output.line(
            f"{found.undelivered} messages have been in the outbox for longer than {conf.command.older_than:g} "
            "seconds; check that the broker and the relays are up"
        )
    return FOUND if found.operations or found.undelivered or found.unreported or found.unserved else 0
