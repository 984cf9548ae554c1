"""The rows that name a host: count them, and give them another host."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Column, ColumnElement, Connection, delete, func, select, update

from snapmanage.core.maintenance.hosts import PastMove, R
from snapmanage.core.outbox import Kind
from snapmanage.core.records import Record
from snapmanage.store.engine import batches
from snapmanage.store.mapping.rows import TABLES, to_record
from snapmanage.store.mapping.tables import host_moves, outbox, quarantine, services

# Records that are read, and written, with few statements.
AT_ONCE = 500


def counts(conn: Connection, kind: type[Record], server: str) -> Mapping[str, int]:
    """Return the numbers of a server's records by their status, tombstones included."""
    table = TABLES[kind]
    query = select(table.c.status, func.count()).where(table.c.server == server).group_by(table.c.status)
    return {row[0]: row[1] for row in conn.execute(query)}


def count_live(conn: Connection, kind: type[Record], servers: Collection[str]) -> Mapping[str, int]:
    """Return the numbers of records without tombstones by their server."""
    table, found = TABLES[kind], Counter[str]()
    query = select(table.c.server, func.count()).where(table.c.deleted_at.is_(None)).group_by(table.c.server)
    for part in batches.filled_parts(sorted(servers)):
        on_any = query.where(batches.any_of(table.c.server, len(part)))
        found.update({row[0]: row[1] for row in conn.execute(on_any, batches.numbered(part))})
    return found


def pages(conn: Connection, kind: type[R], server: str) -> Iterator[list[R]]:
    """Yield all records of a server in the order of their ids, some at a time."""
    last = ""
    while page := _page(conn, kind, server, last, locked=False):
        yield page
        last = page[-1].id


def lock_page(conn: Connection, kind: type[R], server: str) -> list[R]:
    """Lock and return some records of a server, in the order of their ids."""
    return _page(conn, kind, server, "", locked=True)


def _page(conn: Connection, kind: type[R], server: str, after: str, locked: bool) -> list[R]:
    table = TABLES[kind]
    query = select(table).where(table.c.server == server, table.c.id > after).order_by(table.c.id).limit(AT_ONCE)
    rows = conn.execute(query.with_for_update() if locked else query)
    return [to_record(kind, row) for row in rows]


def holders(conn: Connection, kind: type[Record], keys: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return pairs of ids: a record that would get one of the unique keys, and another record that has it.

    `keys` has the id of each record by a key that the record would get.
    """
    table = TABLES[kind]
    columns: Sequence[Column[str]] = (table.c.reference_key, table.c.identity_key)
    return [
        (keys[row[0]], row.id)
        for column in columns
        for part in batches.filled_parts(sorted(keys))
        for row in conn.execute(
            select(column, table.c.id).where(batches.any_of(column, len(part))), batches.numbered(part)
        )
        if keys[row[0]] != row.id
    ]


def count_casts(conn: Connection, server: str) -> int:
    """Return the number of casts to a server that wait in the outbox; it reads the whole outbox."""
    return int(conn.execute(select(func.count()).select_from(outbox).where(_casts_to(server))).scalar_one())


def readdress_casts(conn: Connection, server: str, new: str, now: datetime) -> int:
    """Send the casts to a server to another one, at once."""
    return conn.execute(update(outbox).where(_casts_to(server)).values(target=new, due_at=now)).rowcount


def count_quarantined(conn: Connection, queues: Mapping[str, str]) -> int:
    query = select(func.count()).select_from(quarantine).where(quarantine.c.queue.in_(queues))
    return int(conn.execute(query).scalar_one())


def requeue_quarantined(conn: Connection, queues: Mapping[str, str]) -> int:
    """Let a retry send the quarantined messages of queues to others; `queues` has the new queue by the old one."""
    return sum(
        conn.execute(update(quarantine).where(quarantine.c.queue == old).values(queue=new)).rowcount
        for old, new in queues.items()
    )


def move_service(conn: Connection, server: str, new: str) -> None:
    """Give the row of a server another name, or delete it if another server has that name.

    So a server that has not started yet keeps its storage, and stays disabled if it is.
    """
    this = services.c.server == server
    if conn.execute(select(services.c.server).where(services.c.server == new)).first():
        conn.execute(delete(services).where(this))
    else:
        conn.execute(update(services).where(this).values(server=new))


def add_move(conn: Connection, move_id: str, move: PastMove) -> None:
    conn.execute(host_moves.insert(), {"id": move_id, **vars(move)})


def moves(conn: Connection) -> list[PastMove]:
    """Return the moves that were carried out, oldest first."""
    columns = (host_moves.c.old_server, host_moves.c.new_server, host_moves.c.moved_at)
    return [PastMove(*row) for row in conn.execute(select(*columns).order_by(host_moves.c.moved_at, host_moves.c.id))]


def _casts_to(server: str) -> ColumnElement[bool]:
    return (outbox.c.kind == Kind.CAST.value) & (outbox.c.target == server)
