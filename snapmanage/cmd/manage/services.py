"""snapmanage-manage service: the servers that own backends."""

from typing import Any

from oslo_config import cfg

from snapmanage import errors
from snapmanage.cmd.wiring import parts
from snapmanage.store import services


def add_commands(commands: Any) -> None:
    """Add `service` and its actions to the parser."""
    service = commands.add_parser("service", help="the servers that own backends")
    actions = service.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="print each with its last heartbeat").set_defaults(run=_list)
    disable = actions.add_parser("disable", help="keep new requests away from a server")
    disable.add_argument("server", help="host@backend")
    disable.add_argument("--reason", required=True, help="why, for your colleagues")
    disable.set_defaults(run=_disable)
    enable = actions.add_parser("enable", help="let requests in again")
    enable.add_argument("server", help="host@backend")
    enable.set_defaults(run=_enable)


def _list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db, db.read() as conn:
        for known in services.all_of(conn):
            state = f"disabled: {known.disabled_reason}" if known.disabled_reason else "enabled"
            print(f"{known.server}  driver {known.driver}  heartbeat {known.heartbeat_at.isoformat()}  {state}")


def _disable(conf: cfg.ConfigOpts) -> None:
    _set_disabled(conf, conf.command.reason)


def _enable(conf: cfg.ConfigOpts) -> None:
    _set_disabled(conf, None)


def _set_disabled(conf: cfg.ConfigOpts, reason: str | None) -> None:
    server = conf.command.server
    with parts.opened_database(conf) as db:
        known = db.write(lambda conn, now: services.disable(conn, server, reason))
    if not known:
        raise errors.ServiceNotFound(server)
