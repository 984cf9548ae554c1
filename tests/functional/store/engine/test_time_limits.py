"""A limit on the time of statements: the database itself ends a slow one, and the connection stays usable."""

import time

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.store.engine.database import Database

DIGITS = " UNION ALL ".join(f"SELECT {digit} AS n" for digit in range(10))
# Ten billion rows, which take every database minutes.
SLOW = sa.text(f"SELECT count(*), max(a0.n) FROM {', '.join(f'({DIGITS}) AS a{place}' for place in range(10))}")
LIMIT_SECONDS = 0.2


def test_statement_is_ended_at_its_limit(database: Database) -> None:
    begun = time.monotonic()

    with pytest.raises(errors.SlowList), database.read(statement_seconds=LIMIT_SECONDS) as conn:
        conn.execute(SLOW)

    assert time.monotonic() - begun < 20


def test_limit_ends_with_its_transaction(database: Database) -> None:
    with pytest.raises(errors.SlowList), database.read(statement_seconds=LIMIT_SECONDS) as conn:
        conn.execute(SLOW)

    with database.read() as conn:
        time.sleep(2 * LIMIT_SECONDS)  # the limit is over now
        assert conn.execute(sa.text(f"SELECT count(*) FROM ({DIGITS}) AS a")).scalar_one() == 10


def test_other_errors_of_a_limited_statement_are_not_explained(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError), database.read(statement_seconds=LIMIT_SECONDS) as conn:
        conn.execute(sa.text("SELECT nothing_of_that_name"))
