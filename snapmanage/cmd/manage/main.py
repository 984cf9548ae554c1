"""snapmanage-manage: what an operator does to a deployment."""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from oslo_config import cfg

from snapmanage import audit, errors
from snapmanage.cmd.manage import quarantine, quotas, reconciliation
from snapmanage.cmd.process import running
from snapmanage.cmd.wiring import broker, configuration, parts
from snapmanage.store import services
from snapmanage.store.engine import schema, suitability

BROKEN, INCOMPLETE = 1, 2


def main() -> int:
    return running.main(_run)


def _run() -> int | None:
    cfg.CONF.register_cli_opt(cfg.SubCommandOpt("command", handler=_add_commands))
    conf = configuration.load(sys.argv[1:], "snapmanage-manage")
    if conf.command.name is None:
        raise errors.ConfigurationError("name a command; --help lists them")
    return COMMANDS[conf.command.name, conf.command.action](conf)


def _add_commands(commands: Any) -> None:
    database = _actions(commands, "db", "the database's schema")
    database.add_parser("sync", help="bring the schema up to date; safe to repeat")
    log = _actions(commands, "audit", "the audit log")
    newest = log.add_parser("list", help="print the newest events, one JSON object a line")
    newest.add_argument("--limit", type=int, default=100, help="how many at most (default: %(default)s)")
    newest.add_argument("--snapshot", help="only those of this snapshot's id")
    log.add_parser(
        "verify",
        help="check the chain, and that no event is missing; "
        f"exit code {BROKEN}: the chain is broken, {INCOMPLETE}: events or endings are missing",
    )
    known = _actions(commands, "service", "the servers that own backends")
    known.add_parser("list", help="print each with its last heartbeat")
    disable = known.add_parser("disable", help="keep new requests away from a server")
    disable.add_argument("server", help="host@backend")
    disable.add_argument("--reason", required=True, help="why, for your colleagues")
    known.add_parser("enable", help="let requests in again").add_argument("server", help="host@backend")
    quarantine.add_commands(_actions(commands, "quarantine", "what came over the bus and was put aside"))
    reconciliation.add_commands(commands)
    broker.add_commands(_actions(commands, "broker", "the broker's policies"))
    quotas.add_commands(_actions(commands, "quota", "what projects may manage"))


def _actions(commands: Any, name: str, text: str) -> Any:
    return commands.add_parser(name, help=text).add_subparsers(dest="action", required=True)


def _db_sync(conf: cfg.ConfigOpts) -> None:
    with closing(configuration.database(conf)) as db:
        for warning in suitability.check(db):
            print(f"warning: {warning}", file=sys.stderr)
        schema.sync(db.engine)
    print("The schema is current.")


def _audit_list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db:
        entries = audit.trail(db, conf.command.limit, conf.command.snapshot)
    for entry in entries:
        print(json.dumps({"number": entry.number, "event_type": entry.event_type} | entry.payload))


def _audit_verify(conf: cfg.ConfigOpts) -> int:
    with parts.opened_database(conf) as db:
        head, broken, gaps = audit.verify(db)
    if broken:
        print(f"BROKEN: {broken}")
    for gap in gaps:
        print(f"INCOMPLETE: snapshot {gap.snapshot_id}: {gap.reason}")
    print(f"{head.number} rows, head {head.digest}")
    return BROKEN if broken else INCOMPLETE if gaps else 0


def _service_list(conf: cfg.ConfigOpts) -> None:
    with parts.opened_database(conf) as db, db.read() as conn:
        for known in services.all_of(conn):
            state = f"disabled: {known.disabled_reason}" if known.disabled_reason else "enabled"
            print(f"{known.server}  driver {known.driver}  heartbeat {known.heartbeat_at.isoformat()}  {state}")


def _service_disable(conf: cfg.ConfigOpts) -> None:
    _set_disabled(conf, conf.command.reason)


def _service_enable(conf: cfg.ConfigOpts) -> None:
    _set_disabled(conf, None)


def _set_disabled(conf: cfg.ConfigOpts, reason: str | None) -> None:
    server = conf.command.server
    with parts.opened_database(conf) as db:
        known = db.write(lambda conn, now: services.disable(conn, server, reason))
    if not known:
        raise errors.ServiceNotFound(server)


COMMANDS: Mapping[tuple[str, str], Callable[[cfg.ConfigOpts], int | None]] = {
    ("db", "sync"): _db_sync,
    ("audit", "list"): _audit_list,
    ("audit", "verify"): _audit_verify,
    ("service", "list"): _service_list,
    ("service", "disable"): _service_disable,
    ("service", "enable"): _service_enable,
    **quarantine.COMMANDS,
    **reconciliation.COMMANDS,
    **broker.COMMANDS,
    **quotas.COMMANDS,
}
