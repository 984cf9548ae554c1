"""The schema of a database: check and upgrade it."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Engine

from snapmanage import errors
from snapmanage.store.mapping import tables

_MIGRATIONS = Path(__file__).parents[1] / "migrations"
_VERSIONS = _MIGRATIONS / "versions"


def sync(engine: Engine, revision: str = "head") -> None:
    """Run the missing migrations up to `revision`; a database that is current stays as it is."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        tables.alembic_version.create(connection, checkfirst=True)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def require_current(engine: Engine) -> None:
    """Raise `ConfigurationError` unless the database has the schema of this version."""
    has, wants = _revision(engine), max(path.stem.partition("_")[0] for path in _VERSIONS.glob("[0-9]*.py"))
    if has != wants:
        raise errors.ConfigurationError(
            f"the database's schema is {has or 'empty'}, this version needs {wants}: run `snapmanage-manage db sync`"
        )


def _revision(engine: Engine) -> str | None:
    """Return the revision from Alembic's table. The import of Alembic would take longer than the rest of a start."""
    with engine.connect() as conn:
        if not sa.inspect(conn).has_table("alembic_version"):
            return None
        revision: str | None = conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        return revision
