"""The tables. A change here needs a migration; a test compares the two."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text, text
from sqlalchemy.dialects import mysql

from snapmanage.store.mapping.types import ID, LONG_TEXT, NAME, Json, UtcDateTime

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

# Independent of the defaults of server and database; other row formats have no room for our indexes.
_MARIADB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_row_format": "DYNAMIC",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
# An index of the failed records; MariaDB has no partial indexes.
_FAILED_ONLY: dict[str, Any] = {
    "postgresql_where": text("status = 'error'"),
    "sqlite_where": text("status = 'error'"),
}
# An index of the records that count for a quota, with all that the count reads: the rows are large.
_COUNTED = ("project_id", "size_gb", "reference_key", "identity_key")
_COUNTED_ONLY: dict[str, Any] = {
    "postgresql_where": text("reference_key IS NOT NULL OR identity_key IS NOT NULL"),
    "sqlite_where": text("reference_key IS NOT NULL OR identity_key IS NOT NULL"),
}
# An index of due operations that also answers the counts of `store.health`: without it, they would read the large rows.
# A row enters it anew only at a step of its operation, which changes `due_at` anyway.
_STATE = ("server", "due_at", "status", "step_at", "size_gb")
_BYTES = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def _record_columns() -> list[Column[Any]]:
    """Return the common columns of volumes and snapshots; `snapmanage.core.records.Record` explains them."""
    return [
        Column("id", ID, primary_key=True),
        Column("project_id", NAME, nullable=False),
        Column("user_id", NAME),
        Column("request_id", NAME),
        Column("global_request_id", NAME),
        Column("host", NAME, nullable=False),
        Column("server", NAME, nullable=False),
        Column("reference", LONG_TEXT, nullable=False),
        Column("name", NAME),
        Column("description", Text),
        Column("metadata", Json, nullable=False),
        Column("size_gb", BigInteger),
        Column("status", String(20), nullable=False),
        Column("operation", String(20), nullable=False),
        Column("generation", Integer, nullable=False),
        Column("claim_number", Integer, nullable=False, server_default="0"),
        Column("attempt", Integer, nullable=False),
        Column("started_at", UtcDateTime),
        Column("due_at", UtcDateTime),
        Column("claimed_by", NAME),
        Column("reason", Text),
        Column("reason_code", NAME),
        Column("batch_position", Integer),
        Column("batch_size", Integer),
        Column("backend_id", NAME),
        Column("backend_name", Text),
        Column("original_name", Text),
        Column("backend_created_at", UtcDateTime),
        Column("reference_key", String(64), unique=True),
        Column("identity_key", String(64), unique=True),
        Column("created_at", UtcDateTime, nullable=False),
        Column("updated_at", UtcDateTime),
        Column("step_at", UtcDateTime),
        Column("deleted_at", UtcDateTime),
    ]


volumes = Table(
    "volumes",
    metadata,
    *_record_columns(),
    Index(None, *_STATE),
    Index(None, "project_id", "created_at", "id"),
    Index(None, "created_at", "id"),
    Index(None, "project_id", "status", "operation", **_FAILED_ONLY),
    Index(None, *_COUNTED, **_COUNTED_ONLY),
    **_MARIADB,
)

snapshots = Table(
    "snapshots",
    metadata,
    *_record_columns(),
    Column("volume_id", ID, nullable=False, index=True),
    Column("storage", NAME),
    Column("upstream", String(20)),
    Index(None, *_STATE),
    Index(None, "server", "project_id", "due_at"),
    Index(None, "project_id", "created_at", "id"),
    Index(None, "created_at", "id"),
    Index(None, "project_id", "status", "operation", **_FAILED_ONLY),
    Index(None, *_COUNTED, **_COUNTED_ONLY),
    **_MARIADB,
)

# Messages that are not sent yet; `core.outbox.Message` explains them.
outbox = Table(
    "outbox",
    metadata,
    Column("id", ID, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("record_id", ID, nullable=False, index=True),
    Column("target", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("priority", String(20)),
    Column("body", Json, nullable=False),
    Column("context", Json, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("sends", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "due_at", "kind", "created_at"),
    **_MARIADB,
)

# Outcomes that an upstream API has not taken yet; `core.upstream.Report` explains them.
upstream_reports = Table(
    "upstream_reports",
    metadata,
    Column("id", ID, primary_key=True),
    Column("snapshot_id", ID, nullable=False, index=True),
    Column("project_id", NAME, nullable=False),
    Column("request", String(20), nullable=False),
    Column("status", String(20), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, index=True),
    Column("attempts", Integer, nullable=False),
    Column("reason", Text),
    **_MARIADB,
)

services = Table(
    "services",
    metadata,
    Column("server", NAME, primary_key=True),
    Column("driver", NAME, nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False),
    Column("disabled_reason", NAME),
    Column("storage", NAME),
    Column("protects_origins", Boolean),
    **_MARIADB,
)

# Moves of servers to other names; `core.maintenance.hosts.PastMove` explains them.
host_moves = Table(
    "host_moves",
    metadata,
    Column("id", ID, primary_key=True),
    Column("old_server", NAME, nullable=False),
    Column("new_server", NAME, nullable=False),
    Column("moved_at", UtcDateTime, nullable=False),
    **_MARIADB,
)

# Concurrent requests of a project wait for its row; a limit is null if the default holds.
quotas = Table(
    "quotas",
    metadata,
    Column("project_id", NAME, primary_key=True),
    Column("snapshots", Integer),
    Column("gigabytes", Integer),
    Column("volumes", Integer),
    Column("failed_records", Integer),
    **_MARIADB,
)

messages = Table(
    "messages",
    metadata,
    Column("id", ID, primary_key=True),
    Column("project_id", NAME, nullable=False),
    Column("resource_type", NAME, nullable=False),
    Column("resource_id", ID, nullable=False, index=True),
    Column("request_id", NAME),
    Column("event_id", NAME, nullable=False),
    Column("level", String(20), nullable=False),
    Column("text", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "project_id", "created_at", "id"),
    **_MARIADB,
)

# Keys under which clients may send a request again; `core.idempotency.KeyUse` explains them.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key_digest", String(64), primary_key=True),
    Column("request_digest", String(64), nullable=False),
    Column("record_id", ID, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    **_MARIADB,
)

# Messages from the bus that can't be understood, as they arrived. `event_id` is the event whose entry in the audit log
# the message contradicts.
quarantine = Table(
    "quarantine",
    metadata,
    Column("id", ID, primary_key=True),
    Column("queue", NAME, nullable=False),
    Column("body", _BYTES, nullable=False),
    Column("headers", Json, nullable=False),
    Column("reason", Text, nullable=False),
    Column("received_at", UtcDateTime, nullable=False, index=True),
    Column("event_id", ID, index=True),
    Index(None, "queue", "received_at"),
    **_MARIADB,
)

# Messages that were delivered again and are being handled; a process that dies of one leaves its row.
suspects = Table(
    "suspects",
    metadata,
    Column("id", ID, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    **_MARIADB,
)

# Events as they were received, each row chained to the one before; `audit_head` has the chain's end, and its base: the
# last purged row.
audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", ID, nullable=False, unique=True),
    Column("event_type", NAME, nullable=False),
    Column("snapshot_id", ID, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("content", LONG_TEXT, nullable=False),
    Column("heard_at", UtcDateTime, nullable=False),
    Column("previous_digest", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Index(None, "snapshot_id", "generation"),
    **_MARIADB,
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("base_number", BigInteger, nullable=False, server_default="0"),
    Column("base_digest", String(64), nullable=False, server_default="0" * 64),
    Column("log_id", ID),
    **_MARIADB,
)

# Facts about snapshots that outlive the rows of their events and of their records: the generations of their purged
# events, such as "1-4,6", and the last generation that the record had announced when they were purged, or when the
# record was deleted. A purged event of a later generation was forged. Deleted volumes are here with the generation 0:
# a request that describes a deleted record is a late repeat.
audit_snapshots = Table(
    "audit_snapshots",
    metadata,
    Column("id", ID, primary_key=True),
    Column("purged", LONG_TEXT, nullable=False),
    Column("announced", Integer),
    **_MARIADB,
)

# Alembic's own table, which would have the database's defaults if it were left to Alembic.
alembic_version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), primary_key=True),
    **_MARIADB,
)
