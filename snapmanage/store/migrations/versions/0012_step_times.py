"""The time of the last step of an operation, which no edit of the record changes.

MariaDB commits each change of a table: after a crash in between, the migration runs again from its start.
"""

import sqlalchemy as sa
from alembic import op

from snapmanage.store.mapping.types import UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("volumes", "snapshots"):
        if "step_at" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}:
            op.add_column(table, sa.Column("step_at", UtcDateTime))
