"""Number claims apart from events, so that the generations of a snapshot's events are consecutive.

A snapshot's generation becomes that of its latest event, 0 where it has none: the next event gets the number after it,
which no earlier event of the snapshot has. The claim number continues from the old generation, which counted claims.
MariaDB commits each change of a table: after a crash in between, the migration runs again from its start.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("volumes", "snapshots"):
        if "claim_number" not in _columns(table):
            op.add_column(table, sa.Column("claim_number", sa.Integer, nullable=False, server_default="0"))
        op.execute(f"UPDATE {table} SET claim_number = generation WHERE claim_number = 0")
    if "announced" in _columns("snapshots"):
        op.execute("UPDATE snapshots SET generation = COALESCE(announced, 0)")
        op.drop_column("snapshots", "announced")


def _columns(table: str) -> set[str]:
    return {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}
