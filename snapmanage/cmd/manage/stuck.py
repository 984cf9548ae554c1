"""snapmanage-manage stuck: report stuck operations and messages."""

from datetime import timedelta
from typing import Any

from oslo_config import cfg

from snapmanage.cmd.manage import formats
from snapmanage.cmd.manage.formats import Report
from snapmanage.cmd.process import arguments, output
from snapmanage.cmd.wiring import configuration, parts, unserved
from snapmanage.core.maintenance.stuck import StuckOperation, explain_report
from snapmanage.core.upstream import Report as UpstreamReport
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
    formats.add_option(parser)
    parser.set_defaults(run=_stuck)


def _stuck(conf: cfg.ConfigOpts) -> int:
    older_than = conf.command.older_than
    with parts.opened_database(conf) as db:
        app = Application(db, OutboxWriter(), configuration.rules(conf))
        found = stuck.find(app, timedelta(seconds=older_than))
    reports_are_sent = bool(conf.upstream.endpoint)
    with formats.report(conf) as report:
        for each in found.operations:
            _add_operation(report, each)
        for unreported in found.unreported:
            _add_unreported(report, unreported, reports_are_sent)
        for host in found.unserved:
            report.add(unserved.text(conf, host, serves=False), kind="unserved", server=host.server)
        if found.undelivered:
            report.add(
                f"{found.undelivered} messages have been in the outbox for longer than {older_than:g} seconds; check "
                "that the broker and the relays are up",
                kind="messages",
                count=found.undelivered,
            )
    if found.operations or found.undelivered or found.unreported or found.unserved:
        return FOUND
    output.note(f"No operation, message or outcome has waited for {older_than:g} seconds.")
    return 0


def _add_operation(report: Report, stuck_operation: StuckOperation) -> None:
    record, since, why = stuck_operation.record, stuck_operation.since, stuck_operation.why
    kind, status = type(record).__name__, record.status.value
    report.add(
        f"{kind} {record.id} has been {status} since {since.isoformat()}: {why}",
        kind=kind.lower(),
        id=record.id,
        server=record.location.server,
        status=status,
        since=since,
        why=why,
    )


def _add_unreported(report: Report, unreported: UpstreamReport, reports_are_sent: bool) -> None:
    why = explain_report(unreported, reports_are_sent)
    report.add(
        f"Snapshot {unreported.snapshot_id} is not reported as {unreported.status} to the upstream API since "
        f"{unreported.created_at.isoformat()}: {why}",
        kind="outcome",
        id=unreported.snapshot_id,
        status=unreported.status,
        since=unreported.created_at,
        why=why,
    )
