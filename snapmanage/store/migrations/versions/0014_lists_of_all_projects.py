"""An index for the lists of all projects, which would sort every record for each page.

MariaDB commits each change of a table: after a crash in between, the migration runs again from its start.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

COLUMNS = ["created_at", "id"]


def upgrade() -> None:
    inspector = sa.inspect(op.get_bind())
    for table in ("volumes", "snapshots"):
        name = f"ix_{table}_{'_'.join(COLUMNS)}"
        if name not in {index["name"] for index in inspector.get_indexes(table)}:
            op.create_index(name, table, COLUMNS)
