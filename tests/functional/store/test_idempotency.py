"""Idempotency keys, and how old ones are deleted."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from snapmanage.core.idempotency import KeyUse
from snapmanage.store import idempotency
from snapmanage.store.engine.database import Database
from snapmanage.store.idempotency import HeldKey
from snapmanage.store.mapping import tables
from tests.examples import NOW, new_id
from tests.functional.databases import ON_SERVERS, recorded_statements
from tests.functional.store.rows import SECOND, other_transaction


def key_use(**fields: Any) -> KeyUse:
    return replace(KeyUse("k" * 64, "r" * 64, new_id(), NOW), **fields)


def test_key_belongs_to_its_first_request_until_it_is_replaced(database: Database) -> None:
    first, second = key_use(), key_use()

    assert hold(database, first) == HeldKey(first, is_new=True)
    assert hold(database, second) == hold(database, first) == HeldKey(first, is_new=False)
    database.write(lambda conn, _: idempotency.replace(conn, [second]))
    assert hold(database, first) == HeldKey(second, is_new=False)


def test_released_key_is_free(database: Database) -> None:
    first, second = key_use(), key_use()
    hold(database, first)

    database.write(lambda conn, _: idempotency.release(conn, [first.key_digest]))

    assert hold(database, second) == HeldKey(second, is_new=True)


def test_thousand_keys_are_held_with_few_statements(database: Database) -> None:
    made = [key_use(key_digest=f"{number:064}") for number in range(1000)]
    database.write(lambda conn, _: idempotency.hold(conn, made[::2]))

    with recorded_statements(database.engine) as statements:
        held = database.write(lambda conn, _: idempotency.hold(conn, made))

    assert [held[each.key_digest].is_new for each in made] == [False, True] * 500
    assert {held[each.key_digest].use for each in made} == set(made)
    assert len(statements) < 10


def test_oldest_keys_are_deleted_first_and_valid_keys_stay(database: Database) -> None:
    made = [key_use(key_digest=str(age), created_at=NOW - age * SECOND) for age in range(4)]
    for each in made:
        hold(database, each)

    for limit, left in ((2, {"0", "1"}), (9, {"0"}), (9, {"0"})):
        database.write(lambda conn, _, limit=limit: idempotency.forget(conn, NOW, limit))  # type: ignore[misc]
        assert stored_keys(database) == left


@ON_SERVERS
def test_locked_key_is_neither_deleted_nor_waited_for(database: Database) -> None:
    old, older = (key_use(key_digest=str(age), created_at=NOW - age * SECOND) for age in (1, 2))
    for each in (old, older):
        hold(database, each)

    with ThreadPoolExecutor(1) as pool, other_transaction(database) as other:
        idempotency.hold(other, [older])
        pool.submit(database.write, lambda conn, _: idempotency.forget(conn, NOW, 10)).result(20)

    assert stored_keys(database) == {"2"}


def hold(database: Database, use: KeyUse) -> HeldKey:
    return database.write(lambda conn, _: idempotency.hold(conn, [use]))[use.key_digest]


def stored_keys(database: Database) -> set[str]:
    with database.read() as conn:
        return set(conn.execute(sa.select(tables.idempotency_keys.c.key_digest)).scalars())
