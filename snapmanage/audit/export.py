"""Export the audit log for other programs, entry by entry; the memory is bounded."""

import json
from collections.abc import Callable, Iterator, Mapping

from snapmanage import errors
from snapmanage.audit.verification import required_state
from snapmanage.core.audit import cadf
from snapmanage.core.audit.chain import LONGEST_NUMBER, ChainCheck, Entry, Head, LogState, exported
from snapmanage.store.audit import log
from snapmanage.store.engine.database import Database

FORMATS: Mapping[str, Callable[[Entry, str], str]] = {
    "ndjson": lambda entry, _: json.dumps(exported(vars(entry)), sort_keys=True),
    "cadf": lambda entry, log_id: json.dumps(cadf.event(entry, log_id)),
}


class Export:
    """The entries behind `since` up to `until`, as lines of a format; `broken` describes a break of their chain.

    No transaction is open while a line is written, since the reader of a pipe may be slow.
    """

    def __init__(self, db: Database, line: Callable[[Entry, str], str], since: str | None, until: int | None) -> None:
        self._db = db
        self._line = line
        with db.read() as conn:
            self._state = required_state(conn)
        self._check = ChainCheck(self._start(since))
        self._until = self._state.head.number if until is None else min(until, self._state.head.number)

    @property
    def broken(self) -> str | None:
        """Describe the first break of the chain that the lines showed so far; None if there is none."""
        whole = self._until == self._state.head.number
        return self._check.end(self._state.head if whole else self._check.last)

    def lines(self) -> Iterator[str]:
        while page := self._page():
            for entry in page:
                self._check.follow(entry)
                yield self._line(entry, self._state.log_id)

    def _page(self) -> list[Entry]:
        with self._db.read() as conn:
            return log.entries_page(conn, self._check.last.number, self._until)

    def _start(self, since: str | None) -> Head:
        """Return the entry before the first one: its number may be given without its digest."""
        if since is None:
            return self._state.base
        if ":" in since:
            return Head.parse(since)
        if not (since.isascii() and since.isdigit() and len(since) <= LONGEST_NUMBER):
            raise errors.InvalidRequest(f"--since must be NUMBER or NUMBER:DIGEST, not {since[:100]!r}")
        return _digested(self._db, self._state, int(since))


def _digested(db: Database, state: LogState, number: int) -> Head:
    if number == state.base.number:
        return state.base
    with db.read() as conn:
        for entry in log.numbered(conn, [number]):
            return Head(entry.number, entry.digest)
    raise errors.NotFound(
        f"the audit log has no row {number}: its rows are {state.base.number + 1} to {state.head.number}"
    )
