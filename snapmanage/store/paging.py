"""Pages of a list.

A page compares the columns of its order with those of the marker's row, so that a row that is added or removed before
the page moves nothing. NULL counts as the least value on every database.

A client chooses the form of these statements: `_options` keeps them out of SQLAlchemy's cache, and PostgreSQL prepares
none of them, so that their number costs no memory. The limits of `ListQuery` bound the length of each.
"""

import json
import operator
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    Row,
    Table,
    Text,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    type_coerce,
)

from snapmanage import errors
from snapmanage.core.lists.paging import ListQuery
from snapmanage.store.engine import batches

_UNCACHED: dict[str, Any] = {"compiled_cache": None}
# Texts of a record that clients choose, and those that are JSON already. JSON in ASCII has up to six characters for
# each byte of a text.
_TEXTS = (
    "name",
    "description",
    "user_id",
    "project_id",
    "host",
    "backend_name",
    "original_name",
    "reason",
)
_JSON_TEXTS = ("metadata", "reference")
_ESCAPE_LENGTH = 6
_COMPARISONS = {
    "gt": operator.gt,
    "gte": operator.ge,
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
}
# Characters of the rest of a record as JSON: names of fields, ids, times, links.
RECORD_LENGTH = 1024


def rows(conn: Connection, table: Table, query: ListQuery) -> Sequence[Row[Any]]:
    """Return the rows of a page; raise `InvalidRequest` if the marker is not in the list."""
    return _page(conn, table, query, table.c)


def sizes(conn: Connection, table: Table, query: ListQuery) -> Sequence[tuple[str, int]]:
    """Return the ids of a page, each with the most characters of its record as JSON; raise `InvalidRequest`."""
    length = _json_length(conn, table).label("size")
    return [(row.id, RECORD_LENGTH + int(row.size)) for row in _page(conn, table, query, [table.c.id, length])]


def sizes_of(conn: Connection, table: Table, record_ids: Collection[str]) -> dict[str, int]:
    """Return the most characters of records as JSON by their ids, tombstones included."""
    query, found = select(table.c.id, _json_length(conn, table).label("size")), dict[str, int]()
    for part in batches.filled_parts(sorted(record_ids)):
        rows = conn.execute(query.where(table.c.id.in_(part)))
        found |= {row.id: RECORD_LENGTH + int(row.size) for row in rows}
    return found


def _json_length(conn: Connection, table: Table) -> ColumnElement[int]:
    """Return the most characters of JSON that the texts of a row need."""
    length: ColumnElement[int] = literal(0)
    for name in _JSON_TEXTS:
        length += func.length(type_coerce(table.c[name], Text))
    for name in _TEXTS:
        length += _ESCAPE_LENGTH * func.coalesce(_bytes(conn, table.c[name]), 0)
    return length


def _bytes(conn: Connection, column: Column[Any]) -> ColumnElement[int]:
    """Return the number of bytes of a text; SQLite counts the bytes of a BLOB only."""
    if conn.dialect.name == "sqlite":
        return func.length(cast(column, LargeBinary), type_=Integer)
    return func.octet_length(column, type_=Integer)


def _page(conn: Connection, table: Table, query: ListQuery, columns: Iterable[Any]) -> Sequence[Row[Any]]:
    order = _order(table, query.sort)
    statement = select(*columns).where(*_conditions(conn, table, query))
    if query.marker is not None:
        statement = statement.where(_after(order, _marked(conn, table, query, order)))
    ordered = [key for column, direction in order for key in _keys(column, direction)]
    page = statement.order_by(*ordered).limit(query.limit).offset(query.offset)
    return conn.execute(page, execution_options=_options(query)).all()


def count(conn: Connection, table: Table, query: ListQuery) -> int:
    """Return the number of rows on all pages together."""
    statement = select(func.count()).select_from(table).where(*_conditions(conn, table, query))
    return int(conn.execute(statement, execution_options=_options(query)).scalar_one())


def _options(query: ListQuery) -> dict[str, Any]:
    """Return options that keep a statement out of the cache if a client has chosen its form."""
    return {} if query.plain else _UNCACHED


def _conditions(conn: Connection, table: Table, query: ListQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.project_id is not None:
        conditions.append(table.c.project_id == query.project_id)
    if "deleted_at" in table.c:
        conditions.append(table.c.deleted_at.is_(None))
    conditions += [_equals(table.c[name], value) for name, value in query.equal.items()]
    conditions += [_COMPARISONS[each.operator](table.c[each.column], each.moment) for each in query.times]
    if query.owned is not None:
        owned = or_(table.c.reference_key.is_not(None), table.c.identity_key.is_not(None))
        conditions.append(owned if query.owned else not_(owned))
    conditions += [table.c[name].icontains(text, autoescape=True) for name, text in query.like.items()]
    conditions += [_has_pair(conn, table, pair) for pair in query.metadata.items()]
    return [*conditions, false()] if query.never else conditions


def _equals(column: Column[Any], value: Any) -> ColumnElement[bool]:
    return column.in_(value) if isinstance(value, tuple) else column == value


def _has_pair(conn: Connection, table: Table, pair: tuple[str, str]) -> ColumnElement[bool]:
    """Return the condition that `metadata` has a pair, in the text that the type `Json` writes: it escapes quotes."""
    written = ":".join(json.dumps(part) for part in pair)
    position = func.strpos if conn.dialect.name == "postgresql" else func.instr
    text = type_coerce(table.c.metadata, Text)
    return or_(position(text, f"{{{written}") > 0, position(text, f",{written}") > 0)


def _order(table: Table, sort: Sequence[tuple[str, str]]) -> list[tuple[Column[Any], str]]:
    """Return the columns of the order; the id is the last one, in the direction of the one before."""
    keys = [(table.c[name], direction) for name, direction in sort if name != "id"]
    last = next((direction for name, direction in sort if name == "id"), sort[-1][1])
    return [*keys, (table.c.id, last)]


def _keys(column: Column[Any], direction: str) -> list[ColumnElement[Any]]:
    # Databases sort NULL differently, and MariaDB has no option for it.
    keys = [case((column.is_(None), 0), else_=1), column] if column.nullable else [column]
    return [key.desc() if direction == "desc" else key.asc() for key in keys]


def _marked(conn: Connection, table: Table, query: ListQuery, order: Sequence[tuple[Column[Any], str]]) -> Row[Any]:
    statement = select(*(column for column, _ in order)).where(table.c.id == query.marker)
    if query.project_id is not None:
        statement = statement.where(table.c.project_id == query.project_id)
    marked = conn.execute(statement, execution_options=_UNCACHED).one_or_none()
    if marked is None:
        raise errors.InvalidRequest(f"marker {query.marker} could not be found; start again without it")
    return marked


def _after(order: Sequence[tuple[Column[Any], str]], marked: Row[Any]) -> ColumnElement[bool]:
    """Return the condition of the rows after a row: equal to it in the first columns, and after it in the next one."""
    later: list[ColumnElement[bool]] = []
    for place, (column, direction) in enumerate(order):
        same = [key == value for (key, _), value in zip(order[:place], marked, strict=False)]
        later.append(and_(*same, _is_after(column, direction, marked[place])))
    first, direction = order[0]
    if first.nullable:
        return or_(*later)
    # The rest implies this condition, but PostgreSQL needs it to begin in the middle of an index.
    return and_(first <= marked[0] if direction == "desc" else first >= marked[0], or_(*later))


def _is_after(column: Column[Any], direction: str, value: Any) -> ColumnElement[bool]:
    if direction == "asc":
        return column.is_not(None) if value is None else column > value
    if value is None:
        return false()
    return or_(column < value, column.is_(None)) if column.nullable else column < value
