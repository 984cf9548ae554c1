"""Indexes that answer the counts of `store.health` alone; two of them replace narrower ones, which they also serve as.

MariaDB commits each change of a table: after a crash in between, the migration runs again from its start.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

STATE = ["server", "due_at", "status", "step_at", "size_gb"]
# The columns of each new index, and the index that it replaces.
INDEXES = [
    ("volumes", STATE, "ix_volumes_server_due_at"),
    ("snapshots", STATE, "ix_snapshots_server_due_at"),
    ("outbox", ["due_at", "kind", "created_at"], "ix_outbox_due_at"),
    ("quarantine", ["queue", "received_at"], None),
]


def upgrade() -> None:
    inspector = sa.inspect(op.get_bind())
    for table, columns, replaced in INDEXES:
        known = {index["name"] for index in inspector.get_indexes(table)}
        name = f"ix_{table}_{'_'.join(columns)}"
        if name not in known:
            op.create_index(name, table, columns)
        if replaced and replaced in known:
            op.drop_index(replaced, table)
