"""snapmanage-manage service: list, disable and enable servers."""

from typing import Any

from oslo_config import cfg

from snapmanage.cmd.manage import formats
from snapmanage.cmd.manage.formats import Row
from snapmanage.cmd.process import arguments
from snapmanage.cmd.wiring import parts
from snapmanage.manage import services as servers
from snapmanage.store import services


def add_commands(commands: Any) -> None:
    """Add `service` and its actions to the parser."""
    service = commands.add_parser("service", help="list, disable or enable servers (snapmanage-volume processes)")
    actions = service.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="print each server with its last heartbeat")
    formats.add_option(listing)
    listing.set_defaults(run=_list)
    disable = actions.add_parser("disable", help="refuse new requests for a server")
    disable.add_argument("server", type=arguments.name, help="name of the server, HOST@BACKEND")
    disable.add_argument(
        "--reason",
        required=True,
        type=arguments.name,
        help="reason, which `service list` and refused clients see",
    )
    disable.set_defaults(run=_set_disabled)
    enable = actions.add_parser("enable", help="accept new requests for a server again")
    enable.add_argument("server", type=arguments.name, help="name of the server, HOST@BACKEND")
    enable.set_defaults(run=_set_disabled, reason=None)


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db, db.read() as conn:
        found = services.all_of(conn)
    formats.rows(conf, map(vars, found), _cells)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["server"],
        f"driver {row['driver']}",
        f"heartbeat {row['heartbeat_at'].isoformat()}",
        "enabled" if row["disabled_reason"] is None else f"disabled: {row['disabled_reason']}",
    )


def _set_disabled(conf: cfg.ConfigOpts) -> None:
    server, reason = conf.command.server, conf.command.reason
    with parts.opened_database(conf) as db:
        servers.set_disabled(db, server, reason)
