"""Make checkpoints of the audit log, compare the log with them, and purge entries up to one.

A purge takes many transactions. Each deletes some entries and moves the base behind them, so the log is whole after
each, and an interrupted purge continues when it is repeated.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from snapmanage import crash, errors
from snapmanage.audit.verification import compare, required_state
from snapmanage.core.audit import chain
from snapmanage.core.audit.chain import Head
from snapmanage.core.audit.checkpoint import Checkpoint, generations_digest
from snapmanage.crash import Point
from snapmanage.store.audit import histories, log, purging
from snapmanage.store.engine.database import Database


@dataclass(frozen=True)
class Purge:
    """The entries that a purge deletes: `first` to `last`; there is none if `first` is greater."""

    first: int
    last: int

    @property
    def rows(self) -> int:
        return max(0, self.last - self.first + 1)


def make(db: Database, public_key_sha256: str) -> Checkpoint:
    """Return a checkpoint of the whole log; raise `InvalidState` if its chain is broken."""
    with db.read(at_one_moment=True) as conn:
        state = required_state(conn)
        if broken := chain.first_break(log.entries(conn, state.base.number), state.head, state.base):
            raise errors.InvalidState(f"the audit log is broken, so no checkpoint was made: {broken}")
        return Checkpoint(
            state.log_id,
            state.head,
            state.base.number + 1,
            generations_digest(histories.generations(conn, state.head.number)),
            db.clock(conn).isoformat(timespec="microseconds"),
            public_key_sha256,
        )


def plan_purge(db: Database, checkpoint: Checkpoint) -> Purge:
    """Return the entries that a purge would delete.

    The chain is read from the base to the checkpoint's entry. Raise `InvalidState` if it is not the checkpoint's.
    """
    with db.read(at_one_moment=True) as conn:
        state = required_state(conn)
        problems = [finding.text for finding in compare(conn, state, checkpoint)]
        if not problems and state.base.number <= checkpoint.head.number:
            rows = log.entries(conn, state.base.number, checkpoint.head.number)
            problems += filter(None, [chain.first_break(rows, checkpoint.head, state.base)])
    if problems:
        raise errors.InvalidState(f"nothing was purged: {problems[0]}")
    return Purge(state.base.number + 1, checkpoint.head.number)


def purge(db: Database, planned: Purge) -> Iterator[Head]:
    """Delete the planned entries in parts; yield the base behind each part."""
    while base := db.write(lambda conn, _: _purge_part(conn, planned.last)):
        crash.at(Point.AUDIT_PURGED)
        yield base


def _purge_part(conn: Connection, last: int) -> Head | None:
    """Delete some entries and move the base; return the new base, None if no entry up to `last` is left."""
    base = purging.delete_part(conn, required_state(conn, lock=True).base, last)
    if base is not None:
        crash.at(Point.AUDIT_PURGE_UNCOMMITTED)
    return base
