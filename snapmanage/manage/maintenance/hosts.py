"""Move the records of a host to another host, and find the records of hosts that no process serves."""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from snapmanage import errors
from snapmanage.bus.names import Names
from snapmanage.core.change import Change
from snapmanage.core.maintenance import hosts as rules
from snapmanage.core.maintenance.hosts import Move, PastMove, UnservedHost
from snapmanage.core.records import Record, Snapshot, Volume
from snapmanage.core.services import Service
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.store import hosts, records, services
from snapmanage.store.engine.database import Database
from snapmanage.store.purge import servers_with_records

# The conflicts that an error names.
SHOWN = 5
# Volumes first: a request that has read a volume is committed before the volume moves, and its snapshot moves too.
_KINDS: Sequence[type[Record]] = (Volume, Snapshot)


@dataclass(frozen=True)
class Moved:
    """The rows of one kind, and of one status if they are records, that moved from a server to another one."""

    kind: str
    status: str
    old: str
    new: str
    number: int


def move(app: Application, names: Names, wanted: Move, dry_run: bool) -> list[Moved]:
    """Move all records of a host in one transaction; return the numbers of the rows. A dry run only counts.

    Raise `NotFound` if the host has no records. Raise `InvalidState` if one of its servers is up, if the new host
    serves another storage, or if one of its records owns the same object or reference.
    """
    if dry_run:
        with app.db.read() as conn:
            servers = _servers(conn, app, wanted)
            return [each for old, new in servers.items() for each in _counted(conn, names, old, new)]
    return app.run(partial(_move, app, names, wanted))


def _move(app: Application, names: Names, wanted: Move, tx: Transaction) -> list[Moved]:
    servers = _servers(tx.conn, app, wanted)
    moved = [each for old, new in servers.items() for each in _counted(tx.conn, names, old, new)]
    for old, new in servers.items():
        for kind in _KINDS:
            while page := hosts.lock_page(tx.conn, kind, old):
                records.update(tx.conn, [Change(each, rules.moved(each, new)) for each in page], locked=True)
        hosts.readdress_casts(tx.conn, old, new, tx.now)
        hosts.requeue_quarantined(tx.conn, _queues(names, old, new))
        hosts.move_service(tx.conn, old, new)
        hosts.add_move(tx.conn, str(uuid.uuid4()), PastMove(old, new, tx.now))
    return moved


def _servers(conn: Connection, app: Application, wanted: Move) -> dict[str, str]:
    """Return the servers to move with their new names; raise an error if a rule forbids the move."""
    known = {each.server: each for each in services.all_of(conn)}
    with_records = servers_with_records(conn)
    servers = {old: new for old in sorted(with_records | known.keys()) if (new := wanted.new_name(old))}
    if not servers.keys() & with_records:
        found = ", ".join(sorted(with_records)) or "none"
        raise errors.NotFound(f"host {wanted.old!r} has no records; the servers with records are: {found}")
    rules.require_down(servers, known, app.db.clock(conn), app.rules.service_down)
    for old, new in servers.items():
        rules.require_same_storage(known.get(old), known.get(new))
        _require_no_conflict(conn, old, new)
    return servers


def _require_no_conflict(conn: Connection, old: str, new: str) -> None:
    found = [each for kind in _KINDS for each in _conflicts(conn, kind, old, new)]
    if found:
        more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise errors.InvalidState(
            f"{len(found)} objects of {old} have a record on {new} too: {'; '.join(found[:SHOWN])}{more}. Unmanage one "
            "record of each pair first"
        )


def _conflicts(conn: Connection, kind: type[Record], old: str, new: str) -> Iterator[str]:
    for page in hosts.pages(conn, kind, old):
        keys = {key: each.id for each in page for key in _new_keys(each, new)}
        for ours, other in hosts.holders(conn, kind, keys) if keys else ():
            yield f"{kind.__name__.lower()} {ours} and {other}"


def _new_keys(record: Record, new: str) -> list[str]:
    after = rules.moved(record, new)
    return [key for key in (after.reference_key, after.identity_key) if key]


def _counted(conn: Connection, names: Names, old: str, new: str) -> list[Moved]:
    of_records = [
        (kind.__name__.lower(), status, number)
        for kind in _KINDS
        for status, number in sorted(hosts.counts(conn, kind, old).items())
    ]
    others = [
        ("cast", "in the outbox", hosts.count_casts(conn, old)),
        ("message", "in quarantine", hosts.count_quarantined(conn, _queues(names, old, new))),
    ]
    rows = [*of_records, *(each for each in others if each[2])]
    return [Moved(kind, status, old, new, number) for kind, status, number in rows]


def _queues(names: Names, old: str, new: str) -> Mapping[str, str]:
    """Return the new queue by the old one, for the queues that no other server consumes."""
    pairs = zip(names.server_queues(old), names.server_queues(new), strict=True)
    return {before: after for before, after in pairs if before != after}


def past_moves(db: Database) -> list[PastMove]:
    """Return the moves that were carried out, oldest first."""
    with db.read() as conn:
        return hosts.moves(conn)


def unserved(app: Application, starting: Collection[str] = ()) -> list[UnservedHost]:
    """Return the servers that have records and send no heartbeats, except those that are `starting`."""
    with app.db.read() as conn:
        now, known = app.db.clock(conn), {each.server: each for each in services.all_of(conn)}
        alive = {each.server for each in known.values() if each.alive(now, app.rules.service_down)}
        found = servers_with_records(conn) - alive - set(starting)
        return _described(conn, sorted(found), known) if found else []


def _described(conn: Connection, servers: Sequence[str], known: Mapping[str, Service]) -> list[UnservedHost]:
    volumes, snapshots = (hosts.count_live(conn, kind, servers) for kind in _KINDS)
    counted = [UnservedHost(each, volumes[each], snapshots[each], known.get(each)) for each in servers]
    return [each for each in counted if each.volumes or each.snapshots]
