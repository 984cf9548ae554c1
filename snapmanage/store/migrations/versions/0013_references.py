"""An index of the references of records on MariaDB, for the filter by reference; other databases do without it.

MariaDB commits each change of a table: after a crash in between, the migration runs again from its start.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name not in ("mysql", "mariadb"):
        return
    inspector = sa.inspect(op.get_bind())
    for table in ("volumes", "snapshots"):
        name = f"ix_{table}_reference"
        if name not in {index["name"] for index in inspector.get_indexes(table)}:
            op.create_index(name, table, ["reference"], mysql_length=191, mariadb_length=191)
