"""Carry out a plan: each entry once, however often the command is killed and run again."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product

from snapmanage import errors
from snapmanage.client.api.features import Features
from snapmanage.client.api.http import Api
from snapmanage.client.api.posting import Poster
from snapmanage.client.events import Progress, Reporter
from snapmanage.client.plan.entries import Entry, Manage, RegisterVolume
from snapmanage.client.plan.file import PlanFile
from snapmanage.client.plan.journal import Journal, Outcome, State
from snapmanage.client.plan.spool import Spool, parts_of
from snapmanage.client.plan.tally import Tally
from snapmanage.client.selection.found import Found
from snapmanage.client.work.labelled import LabelledRecords
from snapmanage.client.work.members import Members
from snapmanage.client.work.parallel import in_parallel
from snapmanage.client.work.registering import Registrar
from snapmanage.client.work.retrying import Retrier
from snapmanage.client.work.selecting import scan
from snapmanage.client.work.verdicts import CHANGED, STARTING, UNDONE, Retry, Send, decide, joined
from snapmanage.client.work.waiting import Deadline
from snapmanage.core.values.text import numbered

# Entries in one request, if the service takes batches.
BATCH = 200
# Seconds within which a plain Cinder carries out a request whose sender was killed.
GRACE_SECONDS = 10.0
# Seconds between two counts of failed records while entries are sent.
SECONDS_BETWEEN_COUNTS = 2.0
VOLUME_FAILED = "volume_failed"
# Refused retries that are shown.
SAMPLES = 10


class TooManyErrors(errors.Invalid):
    """`--max-errors` is exceeded."""

    code = "too_many_errors"


@dataclass(frozen=True)
class Options:
    """The number of threads, whether the command waits for the outcomes, and whether it retries failed records."""

    parallel: int = 8
    waits: bool = True
    retries: bool = False


class Applier:
    """Carries out one plan. `prepare` decides which entries are left, and `run` sends them.

    `max_errors` is the number of failures that stop the run; None means no limit.
    """

    def __init__(
        self,
        api: Api,
        features: Features,
        plan: PlanFile,
        journal: Journal,
        reporter: Reporter,
        deadline: Deadline,
        options: Options,
    ) -> None:
        self._api = api
        self._features = features
        self._plan = plan
        self._journal = journal
        self._reporter = reporter
        self._deadline = deadline
        self._options = options
        self.max_errors: int | None = None
        self._records = LabelledRecords(api, plan.header.label, Members(plan))
        self._poster = Poster(api, features, plan.header)
        self._open = ExitStack()
        self._left: Spool[Manage] = self._open.enter_context(Spool[Manage](key=Manage.order))
        self._failed: list[Outcome] = []
        self._not_retried: dict[str, Outcome] = {}
        self._volumes: dict[str, RegisterVolume] = {}
        self._volume_keys: frozenset[str] = frozenset()

    def close(self) -> None:
        self._open.close()

    def prepare(self) -> Tally:
        """Compare the plan with a fresh scan and with the records; return the counts of the entries left to send."""
        self._await_lost_requests()
        tally, used = Tally(), set()
        renamed = self._records.volume_names()
        with (
            Spool[Manage](key=Manage.place) as planned,
            Spool[Found](key=Found.place) as present,
            scan(self._api, self._plan.header.hosts, volume_names=renamed) as scans,
        ):
            for entry in self._plan:
                self._sort(entry, planned)
            for found in scans.entries:
                present.add(found)
            # The records are read after the scan: a snapshot that the scan missed has one.
            seen = self._records.outcomes("snapshots")
            for entry, now in joined(iter(planned), iter(present)):
                last = self._journal.latest.get(entry.key)
                match decide(entry, now, seen.get(entry.key), last, self._options.retries):
                    case Send():
                        self._left.add(entry)
                        tally.add(entry)
                        used.add(entry.volume)
                    case Retry(failed):
                        self._failed.append(failed)
                    case Outcome() as outcome:
                        self._note(outcome)
                        tally.changed += outcome.why == CHANGED
                        if outcome.why == CHANGED and outcome.record_id:
                            self._not_retried[outcome.key] = outcome
        self._volume_keys = frozenset(self._volumes)
        self._volumes = {key: volume for key, volume in self._volumes.items() if key in used}
        tally.volumes, tally.retries = len(self._volumes), len(self._failed)
        return tally

    def run(self) -> None:
        """Send the entries that are left, and wait for the outcomes.

        Raise `Interrupted`, `TimedOut` or `TooManyErrors` before the end; the journal is whole in each case.
        """
        registrar = Registrar(self._api, self._features, self._poster, self._records, self._journal, self._deadline)
        volumes = registrar.ids(self._volumes.values(), self._options.parallel, self._options.retries)
        if self._options.retries:
            self._retry()
        with self._reporter.phase("sending", len(self._left)) as progress:
            self._send_all(volumes, progress)
        if self._options.waits:
            self._wait()
        self.resolve()

    def resolve(self) -> None:
        """Write the outcomes that the records show into the journal, with the reasons of failures."""
        seen = self._records.outcomes("snapshots")
        for outcome in seen.values():
            if outcome.state is State.FAILED and outcome.key in self._not_retried:
                outcome = self._not_retried[outcome.key]
            elif outcome.state is State.FAILED and outcome.text is None:
                why, text = self._records.reason(outcome.record_id or "")
                outcome = Outcome(outcome.key, State.FAILED, outcome.record_id, why or outcome.why, text)
            self._note(outcome)
        for outcome in list(self._journal.latest.values()):
            if outcome.state is State.ACCEPTED and outcome.key not in seen and outcome.key not in self._volume_keys:
                self._note(Outcome(outcome.key, State.UNDONE, outcome.record_id, "undone", "its record was unmanaged"))

    def totals(self) -> "Counter[State | None]":
        """Return the number of planned snapshots in each state; None counts those that were not sent."""
        keys = (entry.key for entry in self._plan if isinstance(entry, Manage))
        return Counter(last.state if (last := self._journal.latest.get(key)) else None for key in keys)

    def _await_lost_requests(self) -> None:
        """Wait until requests whose sender was killed have arrived; a service with keys recognises their repeats.

        Cinder then still renames objects, and the scan must not begin before it has finished.
        """
        if self._features.keeps_idempotency_keys:
            return
        if any(outcome.state is State.SENDING for outcome in self._journal.latest.values()):
            self._reporter.line(f"waiting {GRACE_SECONDS:g} seconds for requests of an interrupted run")
            self._api.stop.wait(GRACE_SECONDS)
        for _ in self._deadline.rounds():
            if not any(self._records.count(*pair) for pair in product(STARTING, ("volumes", "snapshots"))):
                return

    def _sort(self, entry: Entry, planned: Spool[Manage]) -> None:
        match entry:
            case RegisterVolume():
                self._volumes[entry.key] = entry
            case Manage():
                planned.add(entry)

    def _note(self, outcome: Outcome) -> None:
        if self._journal.latest.get(outcome.key) != outcome:
            self._journal.write([outcome])

    def _retry(self) -> None:
        """Retry the failed records, and show why some of them are not retried."""
        retrier = Retrier(self._poster, self._records, self._journal, self._reporter, self._deadline)
        self._not_retried |= retrier.run(self._failed, self._options.parallel)
        for outcome in list(self._not_retried.values())[:SAMPLES]:
            self._reporter.line(f"snapshot {outcome.record_id} is not retried: {outcome.text}")

    def _send_all(self, volumes: dict[str, Outcome], progress: Progress) -> None:
        parts = parts_of(self._sendable(volumes), self._batch_size())
        refused, next_count = 0, time.monotonic() + SECONDS_BETWEEN_COUNTS
        for outcomes in in_parallel(self._options.parallel, self._send, self._until_stopped(parts)):
            progress.advance(len(outcomes))
            for outcome in outcomes:
                progress.event("entry", **outcome.as_json())
            refused += sum(outcome.state is State.FAILED for outcome in outcomes)
            if self.max_errors is not None and time.monotonic() >= next_count:
                next_count = time.monotonic() + SECONDS_BETWEEN_COUNTS
                self._check_errors(refused + self._records.count("error"))
            self._check_errors(refused)
        self._deadline.check()

    def _batch_size(self) -> int:
        """Return the number of entries of a request; a request must not fail much more often than `max_errors`."""
        size = BATCH if self._features.takes_batches else 1
        return size if self.max_errors is None else min(size, max(1, self.max_errors))

    def _check_errors(self, count: int) -> None:
        if self.max_errors is not None and count > self.max_errors:
            failed = numbered(count, "entry has", "entries have")
            raise TooManyErrors(f"{failed} failed, more than --max-errors; no further entry is sent")

    def _until_stopped(self, parts: Iterator[Sequence[tuple[Manage, str]]]) -> Iterator[Sequence[tuple[Manage, str]]]:
        for part in parts:
            self._deadline.check()
            yield part

    def _sendable(self, volumes: dict[str, Outcome]) -> Iterator[tuple[Manage, str]]:
        """Yield the entries with the ids of their volumes; note the failure of an entry whose volume failed."""
        for entry in self._left:
            volume = volumes.get(entry.volume)
            if volume is None and entry.volume in self._volumes:
                continue  # a later run registers the volume
            if volume is not None and volume.state is State.UNDONE:
                self._note(Outcome(entry.key, State.UNDONE, None, UNDONE, "its volume was unmanaged; make a new plan"))
                continue
            if volume is not None and volume.state is State.FAILED:
                why = volume.text or f"its record {volume.record_id} is in error; the service's log has the reason"
                text = f"volume {entry.expect.parent}: {why}"
                self._note(Outcome(entry.key, State.FAILED, None, VOLUME_FAILED, text))
                continue
            yield entry, volume.record_id or "" if volume else entry.volume

    def _send(self, part: Sequence[tuple[Manage, str]]) -> list[Outcome]:
        sending = [Outcome(entry.key, State.SENDING) for entry, _ in part]
        # A service with keys recognises a repeat, so the line may be lost with the machine.
        self._journal.write(sending, durable=not self._features.keeps_idempotency_keys)
        outcomes = self._poster.manage(part)
        self._journal.write(outcomes)
        return outcomes

    def _wait(self) -> None:
        pending = self._records.count("creating")
        with self._reporter.phase("waiting", pending) as progress:
            for _ in self._deadline.rounds():
                now = self._records.count("creating")
                progress.advance(max(0, pending - now))
                pending = now
                if not now:
                    return
