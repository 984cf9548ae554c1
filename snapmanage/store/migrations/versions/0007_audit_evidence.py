"""Let the audit log begin behind purged entries, and let the quarantine name contradicted entries.

Checkpoints name the id of their log, so that one of another deployment is refused.
MariaDB commits each change of a table: after a crash in between, the migration runs again from its start.
"""

import uuid
from typing import Any

import sqlalchemy as sa
from alembic import op

from snapmanage.store.mapping.types import ID, LONG_TEXT

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

GENESIS = "0" * 64
MARIADB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_row_format": "DYNAMIC",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    if "event_id" not in _columns("quarantine"):
        op.add_column("quarantine", sa.Column("event_id", ID))
    if "ix_quarantine_event_id" not in _indexes("quarantine"):
        op.create_index("ix_quarantine_event_id", "quarantine", ["event_id"])
    known = _columns("audit_head")
    for column in (
        sa.Column("base_number", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("base_digest", sa.String(64), nullable=False, server_default=GENESIS),
        sa.Column("log_id", ID),
    ):
        if column.name not in known:
            op.add_column("audit_head", column)
    head = sa.table("audit_head", sa.column("log_id"))
    op.execute(head.update().where(head.c.log_id.is_(None)).values(log_id=str(uuid.uuid4())))
    if not sa.inspect(op.get_bind()).has_table("audit_snapshots"):
        op.create_table(
            "audit_snapshots",
            sa.Column("id", ID, nullable=False),
            sa.Column("purged", LONG_TEXT, nullable=False),
            sa.Column("announced", sa.Integer),
            sa.PrimaryKeyConstraint("id", name="pk_audit_snapshots"),
            **MARIADB,
        )


def _columns(table: str) -> set[str]:
    return {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}


def _indexes(table: str) -> set[str | None]:
    return {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}
