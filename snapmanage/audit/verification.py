"""List and verify the audit log.

The chain proves that no entry was changed after it was written. The records prove which events were announced: so they
show entries that were cut off, and forged ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from snapmanage import errors
from snapmanage.bus import envelope
from snapmanage.core.audit import chain, completeness
from snapmanage.core.audit.chain import Entry, Head, LogState
from snapmanage.core.audit.checkpoint import Checkpoint, generations_digest
from snapmanage.core.audit.comparison import contradictions, differing
from snapmanage.core.audit.completeness import Finding, History, Kind
from snapmanage.core.maintenance.hosts import PastMove
from snapmanage.core.records import Snapshot
from snapmanage.store import hosts, quarantine, records
from snapmanage.store.audit import histories, log
from snapmanage.store.engine.database import Database

NO_HEAD = "the head is missing: the row of table audit_head was deleted; restore audit and audit_head from a backup"


def trail(db: Database, limit: int, snapshot_id: str | None = None) -> Iterator[Entry]:
    """Yield the newest `limit` entries in the order of the log; the memory is bounded.

    No transaction is open while an entry is printed, since the reader of a pipe may be slow.
    """
    with db.read() as conn:
        numbers = log.newest(conn, limit, snapshot_id)
    yield from log.in_pages(numbers, partial(_page, db))


def _page(db: Database, numbers: Sequence[int]) -> list[Entry]:
    with db.read() as conn:
        return log.numbered_page(conn, numbers)


def head(db: Database) -> Head:
    """Return the end of the chain; raise `NotFound` if it is missing."""
    with db.read() as conn:
        return required_state(conn).head


def required_state(conn: Connection, lock: bool = False) -> LogState:
    """Return where the log ends and begins; raise `NotFound` if its head is missing."""
    found = log.state(conn, lock)
    if found is None:
        raise errors.NotFound(f"the audit log can't be read: {NO_HEAD}")
    return found


@contextmanager
def opened(db: Database) -> Iterator["OpenLog"]:
    """Open the log for a verification, which sees all rows as they are at one moment."""
    with db.read(at_one_moment=True) as conn:
        yield OpenLog(conn, log.state(conn), db.clock(conn), hosts.moves(conn))


@dataclass(frozen=True)
class OpenLog:
    """The audit log at one moment; `state` is None if its head is missing. `moves` explain hosts of old events."""

    conn: Connection
    state: LogState | None
    now: datetime
    moves: Sequence[PastMove] = ()

    def findings(
        self, since: Head | None, in_flight: timedelta, checkpoint: Checkpoint | None = None
    ) -> Iterator[Finding]:
        """Yield the findings of the whole log; the chain is read from the entry `since` on, which the caller has kept.

        A checkpoint proves the rows up to its own only if the chain leads to it, so all of them are read.
        The events of a record that has changed within the time `in_flight` may still be on the bus.
        """
        if checkpoint and self.state:
            yield from compare(self.conn, self.state, checkpoint)
        yield from self._chain(since, checkpoint.head if checkpoint else since)
        for page in histories.pages(self.conn, self.now, in_flight):
            yield from self._completeness(page, since.number if since else 0)
        yield from self._contradicting()

    def recent_break(self, rows: int) -> str | None:
        """Return the first break of the chain within the newest rows, None if there is none."""
        if self.state is None:
            return NO_HEAD
        base, last = self.state.base, self.state.head
        start = base
        if last.number - rows > base.number:
            entry = next(log.numbered(self.conn, [last.number - rows]), None)
            if entry is None:
                return f"row {last.number - rows} is missing"
            start = Head(entry.number, entry.digest)
        return chain.first_break(log.entries(self.conn, start.number), last, start)

    def _chain(self, since: Head | None, known: Head | None) -> Iterator[Finding]:
        """Yield the breaks of the chain behind `since`, and those at the entry `known`, which must be there."""
        if self.state is None:
            yield Finding(Kind.BROKEN, NO_HEAD)
            return
        base, last = self.state.base, self.state.head
        if base.number:
            yield Finding(Kind.NOTE, f"rows up to {base.number} were purged, anchored by digest {base.digest}")
        if left := log.entries_page(self.conn, None, base.number):
            yield Finding(Kind.BROKEN, f"row {left[0].number} was inserted before the base, row {base.number}")
        start = since or base
        problem = self._missing(known or base)
        if problem is None:
            problem = chain.first_break(log.entries(self.conn, start.number), last, start)
        if problem:
            yield Finding(Kind.BROKEN, problem)

    def _missing(self, known: Head) -> str | None:
        """Return the reason why the chain does not have the entry `known`, None if it has."""
        assert self.state is not None
        base = self.state.base
        if known.number < base.number:
            return f"rows up to {base.number} were purged, so row {known.number} can't be compared"
        if known.number == base.number:
            return _difference(known, base.digest)
        entry = next(log.numbered(self.conn, [known.number]), None)
        if entry is None:
            return f"row {known.number} is missing: rows were cut off"
        return _difference(known, entry.digest) or chain.change(entry)

    def _completeness(self, page: list[History], since: int) -> Iterator[Finding]:
        """Yield the missing and the forged events of a page; entries up to `since` are not read again."""
        unexplained = {number for history in page for number in completeness.unexplained(history)}
        latest = {
            step.number: history
            for history in page
            for step in history.steps
            if history.record and 0 < step.generation == history.record.generation and step.number > since
        }
        previous: dict[int, int | None] = {}
        for entry in log.numbered(self.conn, unexplained | latest.keys()):
            payload = entry.readable_payload
            if entry.number in unexplained:
                previous[entry.number] = chain.previous_generation(entry.generation, payload)
            if entry.number in latest:
                yield from self._against_record(entry, payload, latest[entry.number])
        for history in page:
            yield from completeness.findings(history, previous)

    def _against_record(self, entry: Entry, payload: Mapping[str, Any], history: History) -> Iterator[Finding]:
        record = history.record
        names = contradictions(record, entry.event_type, payload, self.moves) if record else []
        if names:
            text = f"row {entry.number} contradicts the record in {', '.join(names)}, so the row is forged"
            yield Finding(Kind.FORGED, f"snapshot {history.snapshot_id}: {text}")

    def _contradicting(self) -> Iterator[Finding]:
        """Yield the quarantined messages that contradict an entry, until an operator deletes them."""
        for message_id in quarantine.contradicting(self.conn):
            message = quarantine.get(self.conn, message_id)
            numbers = log.numbers(self.conn, [message.event_id]) if message and message.event_id else {}
            found = list(log.numbered(self.conn, numbers.values()))
            for entry in found:
                assert message is not None
                yield Finding(
                    Kind.FORGED, f"message {message_id} in the quarantine {self._compared(entry, message.body)}"
                )
            if not found:
                yield Finding(Kind.FORGED, f"message {message_id} in the quarantine contradicts a purged row")

    def _compared(self, entry: Entry, body: bytes) -> str:
        """Describe the contradiction between an entry and a message, and which of the two the record proves."""
        event_type, received = _event(body)
        row = f"row {entry.number}"
        names = ", ".join(differing(entry.event_type, entry.readable_payload, event_type, received))
        text = (
            f"contradicts {row} (snapshot {entry.snapshot_id}, generation {entry.generation}) in {names or 'nothing'}; "
        )
        record = records.get(self.conn, Snapshot, entry.snapshot_id, deleted=True)
        if record is None or record.generation != entry.generation:
            return f"{text}the database no longer shows which of the two is right"
        if not contradictions(record, entry.event_type, entry.readable_payload, self.moves):
            return f"{text}the record agrees with {row}" + (
                " and with the message" if not contradictions(record, event_type, received, self.moves) else ""
            )
        if not contradictions(record, event_type, received, self.moves):
            return f"{text}the record agrees with the message, so {row} is forged"
        return f"{text}the record agrees with neither"


def compare(conn: Connection, state: LogState, checkpoint: Checkpoint) -> Iterator[Finding]:
    """Yield the differences between the log and a checkpoint, except in the chain of the entries."""
    if state.log_id != checkpoint.log_id:
        text = f"the checkpoint is of the audit log {checkpoint.log_id}, and this one is {state.log_id}"
        yield Finding(Kind.BROKEN, text)
    elif state.base.number <= checkpoint.head.number:
        found = generations_digest(histories.generations(conn, checkpoint.head.number))
        if found != checkpoint.generations_digest:
            text = f"the events up to row {checkpoint.head.number} are not those of the checkpoint"
            yield Finding(Kind.BROKEN, f"{text}: rows of audit, or of audit_snapshots, were changed or removed")


def _difference(known: Head, digest: str) -> str | None:
    return None if digest == known.digest else f"row {known.number} has the digest {digest}, not {known.digest}"


def _event(body: bytes) -> tuple[str, dict[str, Any]]:
    """Return the type and the payload of a quarantined event; both are empty if only a part was kept."""
    try:
        content = envelope.unwrap(body)
    except errors.InvalidRequest:
        return "", {}
    payload = content.get("payload")
    return str(content.get("event_type")), payload if isinstance(payload, dict) else {}
