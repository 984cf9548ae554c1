"""The position of an operation in the batch that its driver works on.

MariaDB commits each change of a table: after a crash in between, the migration runs again from its start.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("volumes", "snapshots"):
        present = {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}
        for name in {"batch_position", "batch_size"} - present:
            op.add_column(table, sa.Column(name, sa.Integer))
