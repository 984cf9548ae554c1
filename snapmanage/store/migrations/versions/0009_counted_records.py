"""An index from which the usage of a project is counted; the records themselves are large.

MariaDB commits each change of a table: after a crash in between, the migration runs again from its start.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COLUMNS = ["project_id", "size_gb", "reference_key", "identity_key"]
COUNTED = sa.text("reference_key IS NOT NULL OR identity_key IS NOT NULL")


def upgrade() -> None:
    inspector = sa.inspect(op.get_bind())
    for table in ("volumes", "snapshots"):
        name = f"ix_{table}_{'_'.join(COLUMNS)}"
        if name not in {index["name"] for index in inspector.get_indexes(table)}:
            op.create_index(name, table, COLUMNS, postgresql_where=COUNTED, sqlite_where=COUNTED)
