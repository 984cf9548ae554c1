"""The numbers of statements: of those that a process keeps compiled, and of those that a long list takes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from snapmanage.store import ownership
from snapmanage.store.engine.database import STATEMENTS_KEPT, Database, connect
from snapmanage.store.mapping import tables
from snapmanage.store.ownership import IDS_AT_ONCE

# SQLAlchemy forgets the statements that were used least recently when it has half as many more than the limit.
MOST_KEPT = STATEMENTS_KEPT * 3 // 2


@pytest.fixture
def database() -> Iterator[Database]:
    made = connect("sqlite://")
    tables.metadata.create_all(made.engine)
    yield made
    made.close()


@contextmanager
def executed(database: Database) -> Iterator[list[Any]]:
    """Record the contexts of the statements that SQLAlchemy has compiled, now or before."""
    contexts: list[Any] = []

    def listen(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        if context.compiled is not None:
            contexts.append(context)

    event.listen(database.engine, "before_cursor_execute", listen)
    yield contexts
    event.remove(database.engine, "before_cursor_execute", listen)


def compiled(database: Database, numbers: Iterable[int]) -> int:
    """Execute a statement for each number; return how many of them were compiled."""
    with executed(database) as contexts, database.read() as conn:
        for number in numbers:
            conn.execute(sa.select(sa.literal_column(str(number))))
    return sum(context.cache_hit.name == "CACHE_MISS" for context in contexts)


def test_750_statements_are_kept_and_one_more_leaves_the_500_that_were_used_last(database: Database) -> None:
    database.engine.clear_compiled_cache()
    every = range(MOST_KEPT)
    assert compiled(database, every) == MOST_KEPT == 750
    assert compiled(database, every) == 0

    assert compiled(database, [MOST_KEPT]) == 1

    assert compiled(database, reversed(range(MOST_KEPT + 1 - STATEMENTS_KEPT, MOST_KEPT + 1))) == 0
    assert compiled(database, [MOST_KEPT - STATEMENTS_KEPT]) == 1


@pytest.mark.parametrize(("number", "statements"), [(IDS_AT_ONCE, 1), (IDS_AT_ONCE + 1, 2)])
def test_statement_that_reads_owners_has_at_most_500_values(database: Database, number: int, statements: int) -> None:
    with executed(database) as contexts, database.read() as conn:
        assert ownership.live(conn, [str(each) for each in range(number)]) == set()

    assert len(contexts) == statements
