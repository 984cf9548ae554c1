"""The statement and the text of an error are cut at their limits."""

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from snapmanage.store.engine.database import connect
from snapmanage.store.engine.failures import LONGEST_STATEMENT, LONGEST_TEXT

TEXT = "no such column: "


def failure(statement: str) -> OperationalError:
    database = connect("sqlite://")
    with pytest.raises(OperationalError) as raised, database.read() as conn:
        conn.execute(sa.text(statement))
    database.close()
    return raised.value


def test_statement_of_an_error_has_at_most_60_characters() -> None:
    fits = "SELECT ".ljust(LONGEST_STATEMENT, "x")

    assert failure(fits).statement == fits
    assert failure(fits + "x").statement == fits + "…"


def test_text_of_the_database_has_at_most_300_characters() -> None:
    longest = TEXT.ljust(LONGEST_TEXT, "x")

    assert str(failure("SELECT " + longest.removeprefix(TEXT)).orig) == longest
    assert str(failure("SELECT " + longest.removeprefix(TEXT) + "x").orig) == longest + "…"
