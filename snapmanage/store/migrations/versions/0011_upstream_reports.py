"""Reports to an upstream API with records of its own, and the mark of the snapshots that it has requested.

MariaDB commits each change of a table: after a crash in between, the migration runs again from its start.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from snapmanage.store.mapping.types import ID, NAME, UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

MARIADB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_row_format": "DYNAMIC",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
TABLE = "upstream_reports"


def upgrade() -> None:
    inspector = sa.inspect(op.get_bind())
    if "upstream" not in {column["name"] for column in inspector.get_columns("snapshots")}:
        op.add_column("snapshots", sa.Column("upstream", sa.String(20)))
    if not inspector.has_table(TABLE):
        op.create_table(
            TABLE,
            sa.Column("id", ID, nullable=False),
            sa.Column("snapshot_id", ID, nullable=False),
            sa.Column("project_id", NAME, nullable=False),
            sa.Column("request", sa.String(20), nullable=False),
            sa.Column("status", sa.String(20), nullable=False),
            sa.Column("created_at", UtcDateTime, nullable=False),
            sa.Column("due_at", UtcDateTime),
            sa.Column("attempts", sa.Integer, nullable=False),
            sa.Column("reason", sa.Text),
            sa.PrimaryKeyConstraint("id", name="pk_upstream_reports"),
            **MARIADB,
        )
    known = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(TABLE)}
    for column in ("snapshot_id", "due_at"):
        if (name := f"ix_{TABLE}_{column}") not in known:
            op.create_index(name, TABLE, [column])
