"""snapmanage-manage stuck: what is late, and why."""

import argparse
from datetime import timedelta
from typing import Any

from oslo_config import cfg

from snapmanage.cmd.wiring import configuration, parts
from snapmanage.manage import stuck
from snapmanage.manage.application import Application, OutboxWriter

FOUND = 2


def add_commands(commands: Any) -> None:
    """Add `stuck` to the parser."""
    parser = commands.add_parser("stuck", help=f"print what is late, and why; exit code {FOUND} when something is")
    parser.add_argument(
        "--older-than", type=_seconds, default=60.0, metavar="SECONDS", help="what counts as late (default: 60)"
    )
    parser.set_defaults(run=_stuck)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 10**9:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, not {text!r}")
    return value


def _stuck(conf: cfg.ConfigOpts) -> int:
    with parts.opened_database(conf) as db:
        app = Application(db, OutboxWriter(), configuration.rules(conf))
        found, undelivered = stuck.find(app, timedelta(seconds=conf.command.older_than))
    for late in found:
        kind = type(late.record).__name__
        print(f"{kind} {late.record.id} is {late.record.status.value} since {late.since.isoformat()}: {late.why}")
    if undelivered:
        print(f"{undelivered} messages are in the outbox for longer than that: see whether broker and relays are up")
    return FOUND if found or undelivered else 0
