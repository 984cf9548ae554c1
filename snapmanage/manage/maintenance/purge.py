"""Purge old rows in batches, each in a short transaction of its own, while everything runs.

A purge can be killed at any moment and repeated, and two may run at once: each batch locks its records, decides about
them as they are then, and deletes them by their keys.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from snapmanage import crash, errors
from snapmanage.bus import envelope
from snapmanage.core.maintenance import purge as rules
from snapmanage.core.maintenance.purge import Kind, Mentions, Obstacle
from snapmanage.core.records import Record, Snapshot, Volume
from snapmanage.core.services import Service
from snapmanage.core.values.ids import parse_uuid
from snapmanage.core.values.text import walk
from snapmanage.crash import Point
from snapmanage.manage.application import Application
from snapmanage.store import purge as stored
from snapmanage.store import records, services, upstream
from snapmanage.store.audit import histories

# Records that one transaction locks and deletes.
BATCH = 200
# Characters of a UUID without hyphens.
SHORTEST_ID = 32
# Snapshots first: a failed volume is kept as long as it has snapshots.
_KINDS_OF_RECORDS: Sequence[type[Record]] = (Snapshot, Volume)


@dataclass(frozen=True)
class Plan:
    """The rows to purge: those older than `older_than`, at most `limit` of a kind.

    `gone` are servers that never come back, so that nothing reads their queues. A `dry_run` only counts.
    """

    older_than: timedelta
    gone: Set[str] = frozenset()
    limit: int | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class Result:
    """The number of deleted rows of a kind, of the user messages deleted with them, and of the old rows kept."""

    kind: Kind
    deleted: int = 0
    messages: int = 0
    kept: Mapping[Obstacle, int] = field(default_factory=Counter)

    def plus(self, other: "Result") -> "Result":
        kept = Counter(self.kept) + Counter(other.kept)
        return Result(self.kind, self.deleted + other.deleted, self.messages + other.messages, kept)


Find = Callable[[Connection, str, int], list[str]]
Delete = Callable[[Connection, Sequence[str], int], Result]


@dataclass(frozen=True)
class _Run:
    """One purge; `before` is the time before which a row is old, `now` is the time of its start."""

    app: Application
    plan: Plan
    now: datetime

    @property
    def before(self) -> datetime:
        return self.now - self.plan.older_than

    def in_batches(self, total: Result, find: Find, delete: Delete) -> Result:
        """Delete the rows that `find` returns; return `total` with them.

        `find` receives a key and returns the next keys after it. `delete` receives keys and the largest number of
        rows to delete. In a dry run, it gets a connection for reading.
        """
        after = ""
        while (room := self._room(total)) > 0:
            with self.app.db.read() as conn:
                keys = find(conn, after, BATCH)
            if not keys:
                break
            total, after = total.plus(self._batch(keys, room, delete)), keys[-1]
        return total

    def _room(self, total: Result) -> int:
        return BATCH if self.plan.limit is None else min(BATCH, self.plan.limit - total.deleted)

    def _batch(self, keys: Sequence[str], room: int, delete: Delete) -> Result:
        if self.plan.dry_run:
            with self.app.db.read() as conn:
                return delete(conn, keys, room)
        result = self.app.db.write(lambda conn, _: _uncommitted(delete(conn, keys, room)))
        crash.at(Point.PURGED)
        return result


def purge(app: Application, kinds: Collection[Kind], plan: Plan) -> Iterator[Result]:
    """Purge these kinds of rows, and yield the result of each kind.

    The quarantine comes first, because its messages keep the records that they name. Raise `InvalidRequest` if rows of
    this age may still be needed, or if a server of `gone` is unknown or has sent a heartbeat since.
    """
    with app.db.read() as conn:
        now, known = app.db.clock(conn), services.all_of(conn)
        _require_known(plan.gone, {each.server for each in known} | stored.servers_with_records(conn))
    _require_age(plan, app.rules.idempotency_key_ttl)
    run = _Run(app, plan, now)
    _require_gone(run, known)
    for kind in [each for each in Kind if each in kinds]:
        if kind.is_of_records:
            yield _purge_records(run, kind, known)
        else:
            yield _purge_services(run, known) if kind is Kind.SERVICES else _purge_rows(run, kind)


def _require_age(plan: Plan, key_ttl: timedelta) -> None:
    least = max(rules.MINIMUM_AGE, key_ttl)
    if plan.older_than < least:
        raise errors.InvalidRequest(
            f"rows can be purged when they are older than {_days(least)} days: user messages are shown and late casts "
            f"may arrive for {_days(rules.MINIMUM_AGE)} days, and an Idempotency-Key holds for {_days(key_ttl)} "
            "([api] idempotency_key_ttl_seconds); purge older rows only"
        )


def _require_known(gone: Set[str], servers: Set[str]) -> None:
    if unknown := sorted(gone - servers):
        raise errors.InvalidRequest(
            f"no server is named {', '.join(map(repr, unknown))}; `service list` shows the names of all servers"
        )


def _require_gone(run: _Run, known: Sequence[Service]) -> None:
    for each in known:
        if each.server in run.plan.gone and each.heartbeat_at >= run.before:
            raise errors.InvalidRequest(
                f"server {each.server} is not gone, since its last heartbeat was at {each.heartbeat_at.isoformat()}; "
                "start it, so that it handles the casts in its queue, and do not name it as gone"
            )


def _purge_rows(run: _Run, kind: Kind) -> Result:
    """Purge rows that no other row refers to."""

    def delete(conn: Connection, keys: Sequence[str], room: int) -> Result:
        chosen = keys[:room]
        return Result(kind, len(chosen) if run.plan.dry_run else stored.delete_rows(kind, run.before, conn, chosen))

    return run.in_batches(Result(kind), partial(stored.old_rows, kind, run.before), delete)


def _purge_records(run: _Run, kind: Kind, known: Sequence[Service]) -> Result:
    """Purge tombstones or failed records, with their user messages, unless something may still refer to them."""
    up = {each.server for each in known if each.alive(run.now, run.app.rules.service_down)}
    with run.app.db.read() as conn:
        quarantined = {found for body in stored.quarantined_bodies(conn) for found in _ids_in(body)}
    mentions = Mentions(quarantined, up | run.plan.gone)
    total = Result(kind)
    for record in _KINDS_OF_RECORDS:
        find = partial(stored.old_records, record, kind, run.before)
        delete = partial(_delete_records, run, kind, record, mentions)
        total = run.in_batches(total, find, delete)
    return total


def _delete_records(
    run: _Run, kind: Kind, record: type[Record], mentions: Mentions, conn: Connection, keys: Sequence[str], room: int
) -> Result:
    get = records.get_many if run.plan.dry_run else records.lock_many
    old = [each for each in get(conn, record, keys) if rules.is_purgeable(each, kind, run.before)]
    mentions = replace(
        mentions,
        unsent=stored.unsent(conn, keys),
        unreported=upstream.unreported(conn, keys),
        parents=stored.parents(conn, keys),
    )
    obstacles = {each.id: rules.obstacle(each, mentions) for each in old}
    free = sorted(record_id for record_id, obstacle in obstacles.items() if obstacle is None)[:room]
    of_messages = stored.count_messages if run.plan.dry_run else partial(_delete, record, old)
    kept = Counter(obstacle for obstacle in obstacles.values() if obstacle)
    return Result(kind, len(free), of_messages(conn, free) if free else 0, kept)


def _delete(record: type[Record], old: Sequence[Record], conn: Connection, ids: Sequence[str]) -> int:
    """Delete records, and return the number of their user messages, which are deleted with them.

    The ids with their announced generations stay: `audit verify` needs them to prove the events, and a server to ignore
    a late repeat of the request. A volume announces nothing.
    """
    deleted = [each for each in old if each.id in ids]
    histories.keep_announced(conn, {each.id: each.generation if isinstance(each, Snapshot) else 0 for each in deleted})
    return stored.delete_records(record, conn, ids)


def _purge_services(run: _Run, known: Sequence[Service]) -> Result:
    """Purge servers without records; a row of a server with records names the storage of their objects."""
    with run.app.db.read() as conn:
        busy = stored.servers_with_records(conn)
    old = [each for each in known if each.heartbeat_at < run.before]
    obstacles = {each.server: rules.obstacle_of_server(each, busy) for each in old}
    free = [server for server, obstacle in obstacles.items() if obstacle is None][: run.plan.limit]
    if not run.plan.dry_run:
        free = [each for each in free if run.app.db.write(partial(stored.delete_service, each, run.before))]
    return Result(Kind.SERVICES, len(free), kept=Counter(obstacle for obstacle in obstacles.values() if obstacle))


def _ids_in(body: bytes) -> Iterator[str]:
    """Yield the ids that a quarantined cast names; a message that can't be read can't be carried out either."""
    try:
        envelope.limit_size(body, envelope.LARGEST_REQUEST)
        arguments = envelope.open_request(body).message.get("args", {})
    except errors.InvalidRequest:
        return
    for _, value in walk(arguments):
        # The error of any other value repeats it with all that is inside, and does so for each of 900 levels.
        if isinstance(value, str) and len(value) >= SHORTEST_ID:
            with suppress(errors.InvalidRequest):
                yield parse_uuid("id", value)


def _days(time: timedelta) -> str:
    return f"{time / timedelta(days=1):g}"


def _uncommitted(result: Result) -> Result:
    crash.at(Point.PURGE_UNCOMMITTED)
    return result
