"""The storage of a server and of a snapshot, so that an object has one owner across servers."""

import sqlalchemy as sa
from alembic import op

from snapmanage.store.mapping.types import NAME

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("services", sa.Column("storage", NAME))
    op.add_column("snapshots", sa.Column("storage", NAME))
