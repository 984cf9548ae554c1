"""Idempotency keys of requests."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from snapmanage.store.mapping.types import UtcDateTime

revision = "0002"
down_revision = "0001"
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
        "idempotency_keys",
        sa.Column("key_digest", sa.String(64), primary_key=True),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("record_id", sa.String(36), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        **MARIADB,
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
