"""Whether a server refuses to rename snapshots that other tools need, so that the API can refuse at once.

MariaDB commits each change of a table: after a crash in between, the migration runs again from its start.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if "protects_origins" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("services")}:
        op.add_column("services", sa.Column("protects_origins", sa.Boolean))
