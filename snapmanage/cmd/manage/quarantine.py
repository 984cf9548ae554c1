"""snapmanage-manage quarantine: what came over the bus and was put aside."""

import json
from contextlib import closing
from typing import Any

from oslo_config import cfg

from snapmanage.cmd.wiring import parts
from snapmanage.manage import quarantine


def add_commands(commands: Any) -> None:
    """Add `quarantine` and its actions to the parser."""
    quarantined = commands.add_parser("quarantine", help="what came over the bus and was put aside")
    actions = quarantined.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="print each message with the reason, oldest first")
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="print a message with its headers, as JSON")
    show.add_argument("id", help="the message's id, as list prints it")
    show.set_defaults(run=_show)
    retry = actions.add_parser(
        "retry", help="send messages to their queues again; those that arrive are forgotten, unless they come back"
    )
    retry.set_defaults(run=_retry)
    drop = actions.add_parser("drop", help="forget messages")
    drop.set_defaults(run=_drop)
    for parser in (retry, drop):
        parser.add_argument("ids", metavar="id", nargs="+", help="a message's id, as list prints it")


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        for kept in quarantine.entries(db):
            arrived = kept.received_at.isoformat(timespec="seconds")
            print(f"{kept.id}  {arrived}  {kept.queue}  {kept.size_bytes} bytes  {kept.reason}")


def _show(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        kept = quarantine.get(db, conf.command.id)
    shown = dict(vars(kept)) | {
        "body": kept.body.decode(errors="backslashreplace"),
        "received_at": kept.received_at.isoformat(),
        "whole": kept.whole,
    }
    print(json.dumps(shown, indent=2))


def _retry(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db, closing(parts.connect_bus(conf)[0]) as bus:
        for kept in quarantine.messages_to_retry(db, conf.command.ids):
            forgotten = quarantine.retry(db, bus, kept)
            print(f"{kept.id} was sent to {kept.queue} again{'.' if forgotten else ', and has come back.'}")


def _drop(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        for message_id in conf.command.ids:
            quarantine.drop(db, message_id)
            print(f"{message_id} is forgotten.")
