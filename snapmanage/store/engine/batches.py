"""Updates of many rows with few statements, and queries of many values with few forms of a statement."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa
from sqlalchemy import Column, ColumnElement, Connection, Dialect, Table, TextClause, bindparam

T = TypeVar("T")
Values = Mapping[str, Any]
# The numbers of values that a statement may have if a client chooses their number. PostgreSQL's sessions keep each
# statement that is used often, with hundreds of kilobytes.
VALUES_AT_ONCE = (1, 10, 100, 500)

# Characters. A statement with the largest events of a whole batch would be longer than MariaDB accepts.
LONGEST_INSERT = 1024**2
_TIMES_AS_TEXT = orjson.OPT_PASSTHROUGH_DATETIME
# Without it, the texts would have the database's character set, which may lack some of their characters.
_TEXT = "LONGTEXT CHARACTER SET utf8mb4"


def update(conn: Connection, table: Table, rows: Sequence[tuple[str, Values]]) -> None:
    """Write values into rows, each a pair of an id and of values by column; equal values are one statement."""
    alike: defaultdict[tuple[str, ...], list[tuple[str, Values]]] = defaultdict(list)
    for key, values in rows:
        if values:
            alike[tuple(values)].append((key, values))
    for columns, some in alike.items():
        first = some[0][1]
        if all(values == first for _, values in some):
            conn.execute(table.update().where(table.c.id.in_([key for key, _ in some])).values(first))
        elif conn.dialect.name in ("mysql", "mariadb"):
            # Drivers of MariaDB send `executemany` statement by statement.
            fresh = [{"id": key, **values} for key, values in some]
            texts = orjson.dumps(_written(conn.dialect, table, fresh), default=str, option=_TIMES_AS_TEXT).decode()
            conn.execute(_joined(table, columns), {"rows": texts})
        else:
            rows_of_values = [{"row_id": key, **values} for key, values in some]
            conn.execute(table.update().where(table.c.id == bindparam("row_id")), rows_of_values)


def insert(conn: Connection, table: Table, rows: Sequence[Values], common: Values) -> None:
    """Write new rows; all have the values of `common` besides their own."""
    if len(rows) > 1 and conn.dialect.name in ("mysql", "mariadb"):
        # PyMySQL would format and encode each row on its own, which takes twice the time.
        columns = (*rows[0], *common)
        shared = _written(conn.dialect, table, [common])[0]
        for part in _parts([own + shared for own in _written(conn.dialect, table, rows)]):
            conn.exec_driver_sql(_inserted(table, columns, len(part)), tuple(chain.from_iterable(part)))
    elif rows:
        conn.execute(table.insert(), [{**row, **common} for row in rows])


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


def _inserted(table: Table, columns: Sequence[str], count: int) -> str:
    """Return an insert of `count` rows for the driver itself."""
    row = f"({', '.join(['%s'] * len(columns))})"
    return f"INSERT INTO {table.name} ({', '.join(f'`{name}`' for name in columns)}) VALUES {', '.join([row] * count)}"


def _written(dialect: Dialect, table: Table, rows: Sequence[Values]) -> list[list[Any]]:
    """Return the values of rows as the driver receives them; all rows have the columns of the first."""
    processors = [(name, table.c[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in rows[0]]
    return [[process(row[name]) if process else row[name] for name, process in processors] for row in rows]


def _parts(rows: Iterable[list[Any]]) -> Iterator[list[list[Any]]]:
    """Yield parts of rows whose texts have at most `LONGEST_INSERT` characters, or a single row."""
    part, length = list[list[Any]](), 0
    for row in rows:
        of_row = sum(len(value) for value in row if isinstance(value, str))
        if part and length + of_row > LONGEST_INSERT:
            yield part
            part, length = [], 0
        part.append(row)
        length += of_row
    if part:
        yield part
