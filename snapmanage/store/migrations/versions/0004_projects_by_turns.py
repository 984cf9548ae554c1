"""An index of the due operations of one project on a server, for the round robin of projects."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_snapshots_server_project_id_due_at", "snapshots", ["server", "project_id", "due_at"])
