"""The moves of hosts, by which the audit log still agrees with records that got another host."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from snapmanage.store.mapping.types import ID, NAME, UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

MARIADB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_row_format": "DYNAMIC",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
TABLE = "host_moves"


def upgrade() -> None:
    if not sa.inspect(op.get_bind()).has_table(TABLE):
        op.create_table(
            TABLE,
            sa.Column("id", ID, nullable=False),
            sa.Column("old_server", NAME, nullable=False),
            sa.Column("new_server", NAME, nullable=False),
            sa.Column("moved_at", UtcDateTime, nullable=False),
            sa.PrimaryKeyConstraint("id", name="pk_host_moves"),
            **MARIADB,
        )
