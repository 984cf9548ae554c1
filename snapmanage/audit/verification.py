"""List and verify the audit log."""

from snapmanage.core.audit import chain
from snapmanage.core.audit.chain import Entry, Gap, Head
from snapmanage.store import audit as audit_log
from snapmanage.store.engine.database import Database


def trail(db: Database, limit: int, snapshot_id: str | None = None) -> list[Entry]:
    """Return the newest `limit` entries in the order of the log."""
    with db.read() as conn:
        return audit_log.newest(conn, limit, snapshot_id)


def verify(db: Database) -> tuple[Head, str | None, list[Gap]]:
    """Return the head of the chain, the first break (None if the chain is whole), and the gaps in the log."""
    with db.read(at_one_moment=True) as conn:
        head = audit_log.head(conn)
        broken = chain.first_break(audit_log.in_order(conn), head)
        return head, broken, chain.gaps(audit_log.steps(conn))
