"""Unmanage the snapshots of a plan by their label, so that their old names return; no file is needed."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from snapmanage.client.api.http import Api
from snapmanage.client.api.posting import Poster
from snapmanage.client.api.records import Record
from snapmanage.client.events import Reporter
from snapmanage.client.plan.entries import ENTRY_KEY, NAME_KEY
from snapmanage.client.plan.journal import Journal, Outcome, State
from snapmanage.client.plan.spool import Spool
from snapmanage.client.selection.criteria import Criteria
from snapmanage.client.selection.found import Found
from snapmanage.client.selection.retention import Candidate
from snapmanage.client.work.labelled import GONE, LabelledRecords
from snapmanage.client.work.parallel import in_parallel
from snapmanage.client.work.verdicts import ENDING, FAILED_STATUS
from snapmanage.client.work.waiting import Deadline, TimedOut
from snapmanage.core.values.text import numbered

UNMANAGING = "unmanaging"
_REMEDY = "check the server of their backend; if snapmanage serves this Cinder, remove their records in its database"


@dataclass(frozen=True)
class Choice:
    """The snapshots to unmanage: all of the plan, the failed ones, or the ones that pass the selectors.

    `times` has the time of each snapshot by the key of its entry, as far as the selectors need it.
    """

    criteria: Criteria
    only_failed: bool = False
    times: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def is_everything(self) -> bool:
        return self.criteria == Criteria() and not self.only_failed

    def of(self, read: Callable[[], Iterable[Record]]) -> Iterator[Record]:
        """Yield the chosen records. Selectors such as `--latest`, which depend on all records, read them twice."""
        retained = self.criteria.retained(map(self._candidate, filter(self._passes, read())))
        return (each for each in read() if self._passes(each) and (retained is None or each.record_id in retained))

    def _passes(self, record: Record) -> bool:
        if self.only_failed and not record.status.startswith(FAILED_STATUS):
            return False
        return self.criteria.passes(as_found(record, self._time(record)))

    def _candidate(self, record: Record) -> Candidate:
        return Candidate(record.record_id, record.volume_id or "", self._time(record))

    def _time(self, record: Record) -> datetime | None:
        return self.times.get(record.metadata.get(ENTRY_KEY, ""))


class Undoer:
    """Undoes one plan. `prepare` finds the records, and `run` unmanages them."""

    def __init__(
        self, api: Api, poster: Poster, records: LabelledRecords, reporter: Reporter, deadline: Deadline
    ) -> None:
        self._poster = poster
        self._records = records
        self._reporter = reporter
        self._deadline = deadline
        self.chosen: Spool[Record] = Spool(key=lambda record: record.record_id)
        self.volumes: list[Record] = []

    def prepare(self, choice: Choice, keeps_volumes: bool) -> "Counter[str]":
        """Find the chosen records; return the number of snapshots in each status.

        The volumes that the plan has registered are chosen with all of its snapshots, unless `keeps_volumes`.
        """
        statuses: Counter[str] = Counter()
        if choice.is_everything and not keeps_volumes:
            self.volumes = list(self._records.volumes())
        for record in choice.of(self._records.snapshots):
            self.chosen.add(record)
            statuses[record.status] += 1
        return statuses

    def run(self, parallel: int, journal: Journal | None) -> dict[str, str]:
        """Unmanage the chosen records, and wait until they are gone; return the reasons of those that remain."""
        refused: dict[str, str] = {}
        with self._reporter.phase("unmanaging", len(self.chosen)) as progress:
            for record, reason in in_parallel(parallel, self._unmanage, self._until_stopped()):
                progress.advance()
                progress.event("undo", id=record.record_id, refused=reason)
                if reason is not None:
                    refused[record.record_id] = reason
                elif journal is not None and (key := record.metadata.get(ENTRY_KEY)):
                    journal.write(
                        [Outcome(key, State.UNDONE, record.record_id, "undone", "undone by the command undo")]
                    )
        self._deadline.check()
        self._wait()
        return refused | self._remaining()

    def unmanage_volumes(self, parallel: int) -> tuple[int, int]:
        """Unmanage the chosen volumes; return the numbers of unmanaged and of kept volumes.

        A service may keep a volume that has other snapshots, or have no request for it.
        """
        found = [record.record_id for record in self.volumes]
        accepted = sum(answer.is_success for answer in in_parallel(parallel, self._poster.unmanage_volume, found))
        for _ in self._deadline.rounds() if accepted else ():
            if not any(self._records.count(status, "volumes") for status in ENDING):
                break
        kept = sum(1 for _ in self._records.volumes())
        return len(found) - kept, kept

    def _until_stopped(self) -> Iterator[Record]:
        for record in self.chosen:
            self._deadline.check()
            if record.status != UNMANAGING:
                yield record

    def _unmanage(self, record: Record) -> tuple[Record, str | None]:
        """Send the request; a record that is gone, or being unmanaged, needs none."""
        answer = self._poster.unmanage(record.record_id)
        if answer.is_success or answer.status == 404:
            return record, None
        is_ending = self._records.status(record.record_id) in (GONE, UNMANAGING)
        return record, None if is_ending else answer.message

    def _wait(self) -> None:
        """Wait until no record is being unmanaged; raise `TimedOut`, with their number, after the deadline."""
        pending = self._records.count(UNMANAGING)
        with self._reporter.phase("waiting", pending) as progress:
            try:
                for _ in self._deadline.rounds():
                    now = self._records.count(UNMANAGING)
                    progress.advance(max(0, pending - now))
                    pending = now
                    if not now:
                        return
            except TimedOut as error:
                raise TimedOut(
                    f"{error}: {numbered(pending, 'snapshot is', 'snapshots are')} still {UNMANAGING}; {_REMEDY}"
                ) from None

    def _remaining(self) -> dict[str, str]:
        """Return the records that were chosen and still exist, with their reasons."""
        chosen = {record.record_id for record in self.chosen}
        return {
            record.record_id: record.reason or self._records.reason(record.record_id)[1] or f"it is {record.status}"
            for record in self._records.snapshots()
            if record.record_id in chosen
        }


def as_found(record: Record, made_at: datetime | None) -> Found:
    """Return the facts of a record, and the time of its snapshot, under the names that selectors use."""
    metadata = record.metadata
    name = record.original_name or metadata.get(NAME_KEY) or record.source or record.name or ""
    return Found(
        host=record.host or "",
        reference={"source-name": name},
        size_gb=record.size_gb,
        origin=metadata.get("origin"),
        origin_class=metadata.get("origin-class"),
        parent=name.partition("@")[0] if "@" in name else None,
        created_at=made_at,
    )


def report_line(kind: str, record: Record) -> dict[str, Any]:
    """Return the line of the report that is written before anything is unmanaged."""
    return {
        "kind": kind,
        "id": record.record_id,
        "key": record.metadata.get(ENTRY_KEY),
        "status": record.status,
        "original_name": record.original_name or record.metadata.get(NAME_KEY),
        "backend_name": record.backend_name,
        "volume_id": record.volume_id,
        "name": record.name,
    }
