"""Counts of messages that were delivered again, since a message may kill its process."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from snapmanage.store.mapping.types import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MARIADB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_row_format": "DYNAMIC",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    op.create_table(
        "suspects",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("seen_at", UtcDateTime, nullable=False),
        **MARIADB,
    )
