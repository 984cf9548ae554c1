"""snapmanage-manage health: check servers, operations, messages, the audit log and the broker."""

from collections.abc import Iterator
from typing import Any

from oslo_config import cfg
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import errors
from snapmanage.cmd.manage import formats
from snapmanage.cmd.wiring import broker, configuration, parts
from snapmanage.core.maintenance import checks
from snapmanage.core.maintenance.checks import Check, State
from snapmanage.core.maintenance.health import Facts
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.maintenance import health

UNKNOWN, FOUND = 1, 2


def add_commands(commands: Any) -> None:
    """Add `health` to the parser."""
    parser = commands.add_parser(
        "health",
        help="check servers, operations, relay, quarantine, audit log and broker, and print the remedies; exit code "
        f"{FOUND} if a check fails or warns, {UNKNOWN} if the database can't be read",
    )
    formats.add_option(parser)
    parser.set_defaults(run=_health)


def _health(conf: cfg.ConfigOpts) -> int:
    found = list(_checks(conf))
    rows = [
        {"check": each.name, "state": each.state.value, "facts": each.facts, "remedy": each.remedy} for each in found
    ]
    formats.lines(conf, rows, _text)
    states = {each.state for each in found}
    if State.UNKNOWN in states:
        return UNKNOWN
    return 0 if states == {State.OK} else FOUND


def _text(row: formats.Row) -> str:
    remedy = f". Remedy: {row['remedy']}" if row["remedy"] else ""
    return f"{row['state']:<8} {row['check']}: {row['facts']}{remedy}"


def _checks(conf: cfg.ConfigOpts) -> Iterator[Check]:
    facts: Facts | None = None
    try:
        with parts.opened_database(conf) as db:
            facts, _ = health.read(Application(db, OutboxWriter(), configuration.rules(conf)))
    except (SQLAlchemyError, errors.SnapmanageError) as error:
        yield checks.database_is_away(str(error).partition("\n")[0])
    else:
        yield Check("database", State.OK, "it answers, and its schema is current")
        yield from checks.of_facts(facts)
    # Queues of servers that are down have no consumers; the servers are reported already.
    yield from broker.health(conf, [each.server for each in facts.services if facts.is_up(each)] if facts else [])
