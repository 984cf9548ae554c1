"""snapmanage-manage db: manage the database's schema."""

from contextlib import closing
from typing import Any

from oslo_config import cfg

from snapmanage.cmd.process import output
from snapmanage.cmd.wiring import configuration
from snapmanage.store.engine import schema, suitability


def add_commands(commands: Any) -> None:
    """Add `db` and its actions to the parser."""
    actions = commands.add_parser("db", help="manage the database's schema").add_subparsers(
        dest="action", required=True
    )
    sync = actions.add_parser("sync", help="create or upgrade the schema; can be repeated")
    sync.set_defaults(run=_sync)


def _sync(conf: cfg.ConfigOpts) -> None:
    with closing(configuration.database(conf)) as db:
        for warning in suitability.check(db):
            output.warning(warning)
        schema.sync(db.engine)
    output.line("The schema is current.")
