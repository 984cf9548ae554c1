"""The first schema."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from snapmanage.store.mapping.types import Json, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.String(36)
NAME = sa.String(255)
WORD = sa.String(20)
DIGEST = sa.String(64)
LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
BYTES = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
MARIADB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_row_format": "DYNAMIC",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    _records("volumes")
    _records(
        "snapshots",
        sa.Column("volume_id", ID, nullable=False),
        sa.Column("announced", sa.Integer),
    )
    _index("snapshots", "volume_id")
    _messaging()
    _services()
    _audit()


def _records(table: str, *more: sa.Column[Any]) -> None:
    _table(
        table,
        sa.Column("id", ID, primary_key=True),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("user_id", NAME),
        sa.Column("request_id", NAME),
        sa.Column("global_request_id", NAME),
        sa.Column("host", NAME, nullable=False),
        sa.Column("server", NAME, nullable=False),
        sa.Column("reference", LONG_TEXT, nullable=False),
        sa.Column("name", NAME),
        sa.Column("description", sa.Text),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("size_gb", sa.BigInteger),
        sa.Column("status", WORD, nullable=False),
        sa.Column("operation", WORD, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("started_at", UtcDateTime),
        sa.Column("due_at", UtcDateTime),
        sa.Column("claimed_by", NAME),
        sa.Column("reason", sa.Text),
        sa.Column("reason_code", NAME),
        sa.Column("backend_id", NAME),
        sa.Column("backend_name", sa.Text),
        sa.Column("original_name", sa.Text),
        sa.Column("backend_created_at", UtcDateTime),
        sa.Column("reference_key", DIGEST),
        sa.Column("identity_key", DIGEST),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime),
        sa.Column("deleted_at", UtcDateTime),
        *more,
        unique=("reference_key", "identity_key"),
    )
    _index(table, "server", "due_at")
    _index(table, "project_id", "created_at", "id")


def _messaging() -> None:
    _table(
        "outbox",
        sa.Column("id", ID, primary_key=True),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("record_id", ID, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("priority", WORD),
        sa.Column("body", Json, nullable=False),
        sa.Column("context", Json, nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=False),
        sa.Column("sends", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    _index("outbox", "record_id")
    _index("outbox", "due_at")
    _table(
        "quarantine",
        sa.Column("id", ID, primary_key=True),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("body", BYTES, nullable=False),
        sa.Column("headers", Json, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
    )
    _index("quarantine", "received_at")


def _services() -> None:
    _table(
        "services",
        sa.Column("server", NAME, primary_key=True),
        sa.Column("driver", NAME, nullable=False),
        sa.Column("heartbeat_at", UtcDateTime, nullable=False),
        sa.Column("disabled_reason", NAME),
    )
    _table(
        "quotas",
        sa.Column("project_id", NAME, primary_key=True),
        sa.Column("snapshots", sa.Integer),
        sa.Column("gigabytes", sa.Integer),
    )
    _table(
        "messages",
        sa.Column("id", ID, primary_key=True),
        sa.Column("project_id", NAME, nullable=False),
        sa.Column("resource_type", NAME, nullable=False),
        sa.Column("resource_id", ID, nullable=False),
        sa.Column("request_id", NAME),
        sa.Column("event_id", NAME, nullable=False),
        sa.Column("level", WORD, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    _index("messages", "resource_id")
    _index("messages", "project_id", "created_at", "id")


def _audit() -> None:
    _table(
        "audit",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("event_type", NAME, nullable=False),
        sa.Column("snapshot_id", ID, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("content", LONG_TEXT, nullable=False),
        sa.Column("heard_at", UtcDateTime, nullable=False),
        sa.Column("previous_digest", DIGEST, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        unique=("event_id",),
    )
    _index("audit", "snapshot_id", "generation")
    _table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
    )
    # The end of an empty chain is there from the start, so that the first two listeners queue for it.
    op.execute(f"INSERT INTO audit_head (id, number, digest) VALUES (1, 0, '{'0' * 64}')")


def _table(name: str, *columns: sa.Column[Any], unique: tuple[str, ...] = ()) -> None:
    constraints = [sa.UniqueConstraint(column, name=f"uq_{name}_{column}") for column in unique]
    op.create_table(name, *columns, *constraints, **MARIADB)


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
