"""What of one project is due on a server, so that projects are served by turns."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_snapshots_server_project_id_due_at", "snapshots", ["server", "project_id", "due_at"])
