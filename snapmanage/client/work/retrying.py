"""Let the service carry out the failed operations of a plan again, by its action `retry`."""

from collections.abc import Iterator, Sequence

from snapmanage import errors
from snapmanage.client.api.answers import Answer
from snapmanage.client.api.posting import Poster, code_of
from snapmanage.client.events import Progress, Reporter
from snapmanage.client.plan.journal import Journal, Outcome, State
from snapmanage.client.work.labelled import LabelledRecords
from snapmanage.client.work.parallel import in_parallel
from snapmanage.client.work.waiting import Deadline

UNMANAGE_FAILED = "unmanage_failed"
# The statuses of a snapshot after a retry.
RETRIED = frozenset({"creating", "available"})


class Retrier:
    """Retries snapshots in error. The answer to a request may be lost: the refusal of its repeat is none."""

    def __init__(
        self, poster: Poster, records: LabelledRecords, journal: Journal, reporter: Reporter, deadline: Deadline
    ) -> None:
        self._poster = poster
        self._records = records
        self._journal = journal
        self._reporter = reporter
        self._deadline = deadline

    def run(self, failed: Sequence[Outcome], parallel: int) -> dict[str, Outcome]:
        """Request the retries; return the refused ones by the keys of their entries."""
        with self._reporter.phase("retrying", len(failed)) as progress:
            outcomes = in_parallel(parallel, self._retry, self._until_stopped(failed))
            refused = {outcome.key: outcome for outcome in self._noted(outcomes, progress)}
        self._deadline.check()
        return refused

    def _noted(self, outcomes: Iterator[Outcome], progress: Progress) -> Iterator[Outcome]:
        """Write each outcome into the journal, and yield the refusals."""
        for outcome in outcomes:
            progress.advance()
            progress.event("retry", **outcome.as_json())
            self._journal.write([outcome])
            if outcome.state is State.FAILED:
                yield outcome

    def _until_stopped(self, failed: Sequence[Outcome]) -> Iterator[Outcome]:
        for outcome in failed:
            self._deadline.check()
            yield outcome

    def _retry(self, failed: Outcome) -> Outcome:
        """Retry a failed manage; the retry of a failed unmanage would unmanage the snapshot."""
        record_id = failed.record_id or ""
        if self._records.was_unmanaged(record_id):
            text = "its unmanaging failed; finish it with undo, then make a new plan"
            return Outcome(failed.key, State.FAILED, record_id, UNMANAGE_FAILED, text)
        answer = self._poster.retry(record_id)
        if answer.is_success or self._is_retried(record_id, answer):
            return Outcome(failed.key, State.ACCEPTED, record_id)
        return Outcome(failed.key, State.FAILED, record_id, code_of(answer.status, answer.error_code), answer.message)

    def _is_retried(self, record_id: str, refusal: Answer) -> bool:
        """Return whether a retry was refused since an earlier one was accepted: the record is no longer in error."""
        return refusal.error_code == errors.InvalidState.code and self._records.status(record_id) in RETRIED
