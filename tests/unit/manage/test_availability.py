"""The errors for which a client gets 503."""

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from snapmanage.manage.availability import database_away


def test_database_without_a_free_connection_is_away() -> None:
    engine = sa.create_engine("sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01)

    with engine.connect(), pytest.raises(PoolTimeout) as refused:
        engine.connect()

    engine.dispose()
    assert database_away(refused.value)
