"""Find rows by keys that are digests: the database computes the keys of many values in one statement.

A page of a listing needs thousands of keys. The values are shorter than their digests, and the database is idle while
Python would make them. SQLite has no function for digests, so there the caller's digest makes the keys.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Row, Select, TextClause, select

from snapmanage.store.engine import batches

# One statement takes at most so many values of a longer list.
VALUES_AT_ONCE = 2000
Digest = Callable[[str, str], str]

_JSON_TABLE = (
    "JSON_TABLE(:{name}, '$[*]' COLUMNS (value LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) AS {name}"
)
_MARIADB = (
    "SELECT {part} AS part, {columns} FROM "
    f"{_JSON_TABLE.format(name='{places}')} STRAIGHT_JOIN {_JSON_TABLE.format(name='{texts}')} STRAIGHT_JOIN {{table}} "
    "ON {table}.{key} = SHA2(CONCAT({places}.value, CHAR(10), {texts}.value), 256) COLLATE utf8mb4_bin"
)
_POSTGRESQL = (
    "SELECT {part} AS part, {columns} FROM unnest(CAST(:{places} AS text[])) AS {places} (value) "
    "CROSS JOIN unnest(CAST(:{texts} AS text[])) AS {texts} (value) JOIN {table} ON {table}.{key} = "
    "encode(sha256(convert_to({places}.value || chr(10) || {texts}.value, 'UTF8')), 'hex')"
)


@dataclass(frozen=True)
class Search:
    """A search for the rows whose `key` is the digest of one of the `places` with one of the `texts`."""

    key: Column[Any]
    places: Collection[str]
    texts: Sequence[str]


def search(
    conn: Connection, columns: Sequence[Column[Any]], searches: Sequence[Search], digest: Digest
) -> list[list[Row[Any]]]:
    """Return the rows that each search finds; the columns are those of one table."""
    found: list[list[Row[Any]]] = [[] for _ in searches]
    if conn.dialect.name == "sqlite":
        for rows, each in zip(found, searches, strict=True):
            rows += _by_keys(conn, select(*columns), each, digest)
        return found
    longest = max((len(each.texts) for each in searches), default=0)
    for start in range(0, longest, VALUES_AT_ONCE):
        parts = [Search(each.key, each.places, each.texts[start : start + VALUES_AT_ONCE]) for each in searches]
        for row in conn.execute(*_statement(conn.dialect.name, columns, parts)):
            found[row.part].append(row)
    return found


def _by_keys(conn: Connection, query: Select[Any], asked: Search, digest: Digest) -> Iterator[Row[Any]]:
    keys = sorted({digest(where, text) for where in asked.places for text in asked.texts})
    for part in batches.filled_parts(keys):
        yield from conn.execute(query.where(batches.any_of(asked.key, len(part))), batches.numbered(part))


def _statement(
    dialect: str, columns: Sequence[Column[Any]], searches: Sequence[Search]
) -> tuple[TextClause, dict[str, Any]]:
    encode: Callable[[Any], Any] = list if dialect == "postgresql" else json.dumps
    values = chain.from_iterable(
        ((f"places{n}", each.places), (f"texts{n}", each.texts)) for n, each in enumerate(searches)
    )
    return _text(dialect, tuple(columns), tuple(each.key for each in searches)), {
        name: encode(list(value)) for name, value in values
    }


@lru_cache(64)
def _text(dialect: str, columns: Sequence[Column[Any]], keys: Sequence[Column[Any]]) -> TextClause:
    table = columns[0].table.name
    form = _POSTGRESQL if dialect == "postgresql" else _MARIADB
    shown = ", ".join(f"{table}.{each.name}" for each in columns)
    parts = (
        form.format(part=n, columns=shown, table=table, key=key.name, places=f"places{n}", texts=f"texts{n}")
        for n, key in enumerate(keys)
    )
    return sa.text(" UNION ALL ".join(parts))
