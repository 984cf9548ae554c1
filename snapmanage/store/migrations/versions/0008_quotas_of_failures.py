"""Limits of volumes and of failed records, and an index of the failed records of a project.

MariaDB commits each change of a table: after a crash in between, the migration runs again from its start.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

FAILED = sa.text("status = 'error'")


def upgrade() -> None:
    inspector = sa.inspect(op.get_bind())
    for limit in ("volumes", "failed_records"):
        if limit not in {column["name"] for column in inspector.get_columns("quotas")}:
            op.add_column("quotas", sa.Column(limit, sa.Integer))
    for table in ("volumes", "snapshots"):
        name = f"ix_{table}_project_id_status_operation"
        if name not in {index["name"] for index in inspector.get_indexes(table)}:
            # Partial where the database can: records that succeed then cost nothing.
            op.create_index(
                name, table, ["project_id", "status", "operation"], postgresql_where=FAILED, sqlite_where=FAILED
            )
