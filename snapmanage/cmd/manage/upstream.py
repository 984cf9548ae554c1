"""snapmanage-manage upstream: the reports that an upstream API has not taken yet."""

from typing import Any

from oslo_config import cfg

from snapmanage.cmd.manage import formats
from snapmanage.cmd.manage.formats import Row
from snapmanage.cmd.process import arguments, output
from snapmanage.cmd.wiring import configuration, parts
from snapmanage.core.upstream import Report
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.maintenance import upstream


def add_commands(commands: Any) -> None:
    """Add `upstream` and its actions to the parser."""
    parser = commands.add_parser("upstream", help="list, retry or delete outcomes that the upstream API has not taken")
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="print each outcome with its last failure, oldest first")
    listing.set_defaults(run=_list)
    retry = actions.add_parser("retry", help="send outcomes again now; without ids all that the upstream has refused")
    retry.add_argument("ids", metavar="id", nargs="*", type=arguments.name, help="id of an outcome, as printed by list")
    retry.set_defaults(run=_retry)
    drop = actions.add_parser("drop", help="delete outcomes, which are then never reported")
    drop.add_argument("ids", metavar="id", nargs="+", type=arguments.name, help="id of an outcome, as printed by list")
    drop.set_defaults(run=_drop)
    report = actions.add_parser(
        "report", help="report all outcomes once more, such as those from the time before [upstream] endpoint was set"
    )
    report.set_defaults(run=_report)
    unmanaged = actions.add_parser(
        "unmanaged", help="print the snapshots that are unmanaged here, and whose records the upstream can't delete"
    )
    unmanaged.set_defaults(run=_unmanaged)
    for each in (listing, unmanaged):
        formats.add_option(each)


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        entries = upstream.entries(db)
    formats.rows(conf, map(vars, entries), _cells)


def _cells(row: Row) -> tuple[str, ...]:
    created_at = row["created_at"].isoformat(timespec="seconds")
    return row["id"], row["snapshot_id"], created_at, row["status"], _state(Report(**row))


def _state(report: Report) -> str:
    reason = f": {report.reason}" if report.reason else ""
    if report.due_at is None:
        return f"refused{reason}"
    return f"{report.attempts} attempts, the next at {report.due_at.isoformat(timespec='seconds')}{reason}"


def _retry(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        if not conf.command.ids:
            output.line(f"Sending {upstream.retry_quarantined(db)} outcomes again.")
            return
        upstream.retry(db, conf.command.ids)
    for report_id in conf.command.ids:
        output.line(f"Sending outcome {report_id} again.")


def _drop(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        for report_id in conf.command.ids:
            upstream.drop(db, report_id)
            output.line(f"Deleted outcome {report_id}.")


def _report(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        reported = upstream.report_settled(Application(db, OutboxWriter(), configuration.rules(conf)))
    output.line(f"Reporting the outcomes of {reported} snapshots.")


def _unmanaged(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        found = upstream.unmanaged(db)
    formats.rows(
        conf,
        (
            {"id": each.id, "project_id": each.requester.project_id, "unmanaged_at": each.deleted_at}
            for each in found
            if each.deleted_at
        ),
        lambda row: (row["id"], row["project_id"], row["unmanaged_at"].isoformat(timespec="seconds")),
    )
