"""Updates of many rows with few statements, and queries of many values with few forms of a statement."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Column, ColumnElement, Connection, Dialect, Table, TextClause, bindparam

T = TypeVar("T")
Values = Mapping[str, Any]
# The numbers of values that a statement may have if a client chooses their number. PostgreSQL's sessions keep each
# statement that is used often, with hundreds of kilobytes.
VALUES_AT_ONCE = (1, 10, 100, 500)

# Without it, the texts would have the database's character set, which may lack some of their characters.
_TEXT = "LONGTEXT CHARACTER SET utf8mb4"


def update(conn: Connection, table: Table, rows: Sequence[tuple[str, Values]]) -> None:
    """Write values into rows, each a pair of an id and of values by column; equal values are one statement."""
    alike: dict[tuple[tuple[str, Any], ...], tuple[Values, list[str]]] = {}
    for key, values in rows:
        alike.setdefault(tuple(map(_hashable, values.items())), (values, []))[1].append(key)
    apart: defaultdict[tuple[str, ...], list[Values]] = defaultdict(list)
    for values, keys in alike.values():
        if len(keys) > 1 and values:
            conn.execute(table.update().where(table.c.id.in_(keys)).values(values))
        elif values:
            apart[tuple(values)].append({"row_id": keys[0], **values})
    for columns, each in apart.items():
        if len(each) > 1 and conn.dialect.name in ("mysql", "mariadb"):
            # Drivers of MariaDB send `executemany` statement by statement.
            conn.execute(_joined(table, columns), {"rows": _as_json(conn.dialect, table, columns, each)})
        else:
            conn.execute(table.update().where(table.c.id == bindparam("row_id")), each)


def _hashable(item: tuple[str, Any]) -> tuple[str, Any]:
    """Return a column and its value, or the text of a value that is an object of JSON."""
    name, value = item
    return (name, json.dumps(value)) if isinstance(value, Mapping) else item


def filled_parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield parts of the values; the last one is repeated until its part has one of the numbers of `VALUES_AT_ONCE`."""
    for start in range(0, len(values), VALUES_AT_ONCE[-1]):
        part = list(values[start : start + VALUES_AT_ONCE[-1]])
        size = next(each for each in VALUES_AT_ONCE if each >= len(part))
        yield part + part[-1:] * (size - len(part))


@lru_cache(64)
def any_of(column: Column[Any], count: int) -> ColumnElement[bool]:
    """Return the condition that a column has one of `count` values, which `numbered` names.

    SQLAlchemy writes each statement with a list of values anew; this one is written once for each count.
    """
    return column.in_([bindparam(f"value_{number}") for number in range(count)])


def numbered(values: Sequence[Any]) -> dict[str, Any]:
    """Return the parameters of `any_of`."""
    return {f"value_{number}": value for number, value in enumerate(values)}


@lru_cache(64)  # a step changes the same columns each time
def _joined(table: Table, columns: Sequence[str]) -> TextClause:
    """Return an update that joins a table made of one JSON text; MariaDB still refuses values that don't fit."""
    paths = [f"`{name}` {_TEXT} PATH '$[{place}]'" for place, name in enumerate(("id", *columns))]
    assigned = [f"{table.name}.`{name}` = fresh.`{name}`" for name in columns]
    return sa.text(
        f"UPDATE {table.name} JOIN JSON_TABLE(:rows, '$[*]' COLUMNS ({', '.join(paths)})) AS fresh "
        f"ON {table.name}.id = fresh.id COLLATE utf8mb4_bin SET {', '.join(assigned)}"
    )


def _as_json(dialect: Dialect, table: Table, columns: Sequence[str], rows: Sequence[Values]) -> str:
    processors = [(name, table.c[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in columns]
    texts = [
        [row["row_id"], *(process(row[name]) if process else row[name] for name, process in processors)] for row in rows
    ]
    return json.dumps(texts, ensure_ascii=False, default=str)
