"""snapmanage-manage host: give the records of a host to another host."""

import argparse
from typing import Any

from oslo_config import cfg

from snapmanage.cmd.manage import formats
from snapmanage.cmd.process import arguments, output
from snapmanage.cmd.wiring import configuration, parts
from snapmanage.core.maintenance.hosts import Move
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.maintenance import hosts

_MOVE = """Give all records of a host, or of one of its backends, to another host.

Stop the old host's snapmanage-volume first. The objects must be on the storage that the new host serves: a move
changes records only. Operations under way, and casts that wait in the outbox or in the quarantine, continue on the
new host. One transaction does it all, so an interrupted move has changed nothing.

The command refuses the move while a server of the old host is up, if the new host is known to serve another storage,
and if both hosts have a record of one object. docs/how-to/move-a-host.md has the steps.
"""


def add_commands(commands: Any) -> None:
    """Add `host` and its actions to the parser."""
    parser = commands.add_parser("host", help="move the records of a host to another host, and list past moves")
    actions = parser.add_subparsers(dest="action", required=True)
    move = actions.add_parser(
        "move",
        help="give the records of a host to another host, after it was renamed",
        description=_MOVE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    move.add_argument("old", type=arguments.name, metavar="OLD", help="HOST or HOST@BACKEND that the records have")
    move.add_argument("new", type=arguments.name, metavar="NEW", help="HOST or HOST@BACKEND that they get")
    move.add_argument("--dry-run", action="store_true", help="print the numbers of rows, and change nothing")
    formats.add_option(move)
    move.set_defaults(run=_move)
    moves = actions.add_parser("moves", help="print the moves that were carried out, oldest first")
    formats.add_option(moves)
    moves.set_defaults(run=_moves)


def _move(conf: cfg.ConfigOpts) -> None:
    given = conf.command
    wanted, names = Move.parse(given.old, given.new), configuration.names(conf)
    with parts.opened_database(conf) as db:
        app = Application(db, OutboxWriter(), configuration.rules(conf))
        moved = hosts.move(app, names, wanted, given.dry_run)
    formats.rows(conf, [vars(each) for each in moved])
    if given.dry_run:
        output.note("Nothing was changed.")
        return
    for old in sorted({each.old for each in moved}):
        output.note(
            f"The queue {names.server_queue(old)} may hold casts of other senders: see whether it is empty before you "
            "delete it."
        )


def _moves(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        formats.rows(conf, [vars(each) for each in hosts.past_moves(db)])
