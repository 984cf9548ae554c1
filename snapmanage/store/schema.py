"""Bringing a database to the current schema."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from snapmanage import errors


def sync(engine: Engine) -> None:
    """Run the migrations that are missing; a database that is current stays as it is."""
    from alembic import command

    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")


def require_current(engine: Engine) -> None:
    """Raise `ConfigurationError` unless the schema is the one this version works with."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with engine.connect() as connection:
        has = MigrationContext.configure(connection).get_current_revision()
    wants = ScriptDirectory.from_config(_config(None)).get_current_head()
    if has != wants:
        raise errors.ConfigurationError(
            f"the database's schema is {has or 'empty'}, this version needs {wants}: run `snapmanage-manage db sync`"
        )


def _config(connection: Any) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
