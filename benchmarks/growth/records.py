"""A thousand and a million rows in `snapshots`, `outbox` and `audit`: the engine, POST, and daily work."""

import statistics
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from benchmarks import consume, post, seed
from benchmarks.growth import cases
from benchmarks.world import Installation, World
from snapmanage.core.lists.paging import ListQuery
from snapmanage.core.maintenance.purge import Kind
from snapmanage.core.records import Snapshot
from snapmanage.core.services import Service
from snapmanage.manage import ownership, queries
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.maintenance import purge, stuck
from snapmanage.manage.rules import Rules
from snapmanage.store import outbox, quotas, records, services
from snapmanage.store.audit import log

SMALL, LARGE = 1000, 1_000_000
OPERATIONS = 2000
REPEATS = 5


def measure_engine(world: World) -> dict[str, Any]:
    before, large, after = (consume.run(world, OPERATIONS, history=rows) for rows in (SMALL, LARGE, SMALL))
    return cases.compare(before, large, after, rows=[SMALL, LARGE])


def measure_post(world: World) -> dict[str, Any]:
    """Compare requests of eight clients, without a server that carries them out."""
    request = partial(post.measure_many_clients, world, clients=8, served=False)
    before, large, after = (request(history=rows) for rows in (SMALL, LARGE, SMALL))
    return cases.compare(before, large, after, rows=[SMALL, LARGE])


def measure_daily_work(world: World) -> dict[str, Any]:
    """Compare the milliseconds of the daily work of operators, clients and idle processes."""
    small, large = _measure_daily_work(world, SMALL), _measure_daily_work(world, LARGE)
    return {"rows": [SMALL, LARGE], "small": small, "large": large, "ratios": cases.ratios(small, large)}


def _measure_daily_work(world: World, rows: int) -> dict[str, float]:
    with world.installation() as app:
        app.seed_volumes()
        app.age(rows)
        return {name: _milliseconds(work) for name, work in _daily_work(app).items()}


def _daily_work(app: Installation) -> Mapping[str, Callable[[], Any]]:
    db = app.db
    use = Application(db, OutboxWriter(), Rules())
    first = queries.list_records(use, Snapshot, ListQuery(seed.PROJECT, limit=1000)).entries
    one = first[0].id
    now = db.now()
    lists: dict[str, Callable[[], Any]] = {
        "list, first page": partial(queries.list_records, use, Snapshot, ListQuery(seed.PROJECT, limit=500)),
        "list, next page": partial(queries.list_records, use, Snapshot, ListQuery(seed.PROJECT, limit=500, marker=one)),
        "list, all projects": partial(queries.list_records, use, Snapshot, ListQuery(None, limit=500)),
        "list, failed": partial(
            queries.list_records, use, Snapshot, ListQuery(seed.PROJECT, equal={"status": "error"})
        ),
        "list, with the total": partial(
            queries.list_records, use, Snapshot, ListQuery(seed.PROJECT, limit=10), with_total=True
        ),
        "show": partial(queries.snapshot, use, one, None),
    }

    def reading(read: Callable[[Any], Any]) -> Callable[[], Any]:
        def work() -> Any:
            with db.read() as conn:
                return read(conn)

        return work

    def writing(write: Callable[[Any], Any]) -> Callable[[], Any]:
        return lambda: db.write(lambda conn, _: write(conn))

    server = app.servers[0]
    of_processes: dict[str, Callable[[], Any]] = {
        "heartbeat": writing(lambda conn: services.beat(conn, Service(server, "fake", now))),
        "scan for due operations": reading(lambda conn: records.servers_with_due(conn, {server}, now)),
        "relay, look for due messages": writing(lambda conn: outbox.take(conn, now, 200)),
        "server start, casts become due": writing(lambda conn: outbox.hurry_casts(conn, [server], now)),
        "server start, storage of 1 % of the records": partial(
            ownership.adopt, db, seed.AWAY.format(0), seed.AWAY.format(0)
        ),
    }
    of_operators: dict[str, Callable[[], Any]] = {
        "audit list": reading(lambda conn: log.newest(conn, 20)),
        "audit list, of a snapshot": reading(lambda conn: log.newest(conn, 20, one)),
        "audit events of a snapshot": partial(queries.audit_entries, use, one),
        "stuck": partial(stuck.find, use, timedelta(hours=1)),
        "usage of a project": reading(lambda conn: quotas.usage(conn, seed.PROJECT)),
        "purge, nothing is old": lambda: list(purge.purge(use, list(Kind), purge.Plan(timedelta(days=36500)))),
        "reconcile, records of a server with 1 %": reading(lambda conn: records.resolved(conn, seed.AWAY.format(0))),
    }
    return lists | of_processes | of_operators


def _milliseconds(work: Callable[[], Any]) -> float:
    """Return the median of several calls; a call that takes long is made once."""
    taken: list[float] = []
    while len(taken) < REPEATS and sum(taken) < 1:
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return round(1000 * statistics.median(taken), 2)
