"""snapmanage-manage quarantine: list, show, retry and delete quarantined messages."""

from contextlib import closing
from typing import Any

from oslo_config import cfg

from snapmanage.cmd.manage import formats
from snapmanage.cmd.manage.formats import Row
from snapmanage.cmd.process import arguments, output
from snapmanage.cmd.wiring import parts
from snapmanage.manage.maintenance import quarantine


def add_commands(commands: Any) -> None:
    """Add `quarantine` and its actions to the parser."""
    quarantined = commands.add_parser("quarantine", help="list, show, retry or delete quarantined messages")
    actions = quarantined.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="print each message with its reason, oldest first")
    formats.add_option(listing)
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="print a message with its headers as JSON")
    show.add_argument("id", type=arguments.name, help="id of the message, as printed by list")
    show.set_defaults(run=_show)
    retry = actions.add_parser(
        "retry", help="send messages to their queues again, and delete those that are not quarantined again"
    )
    retry.set_defaults(run=_retry)
    drop = actions.add_parser("drop", help="delete messages")
    drop.set_defaults(run=_drop)
    for parser in (retry, drop):
        parser.add_argument(
            "ids", metavar="id", nargs="+", type=arguments.name, help="id of a message, as printed by list"
        )


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        entries = quarantine.entries(db)
    formats.rows(conf, map(vars, entries), _cells)


def _cells(row: Row) -> tuple[str, ...]:
    received_at = row["received_at"].isoformat(timespec="seconds")
    return row["id"], received_at, row["queue"], f"{row['size_bytes']} bytes", row["reason"]


def _show(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        message = quarantine.get(db, conf.command.id)
    shown = dict(vars(message)) | {
        "body": message.body.decode(errors="backslashreplace"),
        "received_at": message.received_at.isoformat(),
        "whole": message.whole,
    }
    output.json_document(shown)


def _retry(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db, closing(parts.connect_bus(conf)[0]) as bus:
        for message in quarantine.messages_to_retry(db, conf.command.ids):
            deleted = quarantine.retry(db, bus, message)
            result = "deleted it from the quarantine" if deleted else "it was quarantined again"
            output.line(f"Sent message {message.id} to queue {message.queue}; {result}.")


def _drop(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        for message_id in conf.command.ids:
            quarantine.drop(db, message_id)
            output.line(f"Deleted message {message_id}.")
