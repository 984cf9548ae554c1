"""The outcome of each snapshot of a plan, and groups of equal outcomes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from snapmanage.client.plan.entries import Entry, Manage, RegisterVolume
from snapmanage.client.plan.journal import Outcome, State
from snapmanage.client.reports.remedies import remedy

SKIPPED, NOT_SENT, IN_PROGRESS = "skipped", "not sent", "in progress"
FAILED = frozenset({State.FAILED.value, State.UNDONE.value})
COLUMNS = ("Outcome", "Reason", "Host", "Source", "Name", "Renamed to", "Id", "Text", "Remedy")


@dataclass(frozen=True, slots=True)
class Line:
    """A snapshot of the plan with its outcome: done, failed, undone, skipped, not sent or in progress."""

    outcome: str
    why: str | None
    host: str
    source: str
    name: str | None = None
    renamed_to: str | None = None
    record_id: str | None = None
    text: str | None = None

    def cells(self) -> tuple[str | None, ...]:
        """Return the cells of `COLUMNS`."""
        return (
            self.outcome,
            self.why,
            self.host,
            self.source,
            self.name,
            self.renamed_to,
            self.record_id,
            self.text,
            remedy(self.why),
        )


@dataclass
class Group:
    """Equal outcomes: their number, and one of them as an example."""

    example: Line
    count: int = 0

    def cells(self) -> tuple[Any, ...]:
        return self.example.outcome, self.example.why, self.count, self.example.source, self.example.text, self.remedy

    @property
    def remedy(self) -> str:
        return remedy(self.example.why)


GROUP_COLUMNS = ("Outcome", "Reason", "Count", "Example", "Text", "Remedy")


def lines(plan: Iterable[Entry], outcomes: Mapping[str, Outcome], only_failed: bool = False) -> Iterator[Line]:
    """Yield the outcome of each snapshot of the plan."""
    for entry in plan:
        if isinstance(entry, RegisterVolume):
            continue
        line = _of_managed(entry, outcomes.get(entry.key)) if isinstance(entry, Manage) else _skipped(entry)
        if not only_failed or line.outcome in FAILED:
            yield line


def groups(found: Iterable[Line]) -> list[Group]:
    """Return the groups by outcome and reason, the largest first."""
    made: dict[tuple[str, str | None], Group] = {}
    for line in found:
        made.setdefault((line.outcome, line.why), Group(line)).count += 1
    return sorted(made.values(), key=lambda group: (-group.count, group.example.outcome, group.example.why or ""))


def _of_managed(entry: Manage, last: Outcome | None) -> Line:
    if last is None:
        return Line(NOT_SENT, None, entry.host, entry.source, entry.name, entry.renamed_to)
    state = IN_PROGRESS if last.state in (State.ACCEPTED, State.SENDING) else last.state.value
    return Line(state, last.why, entry.host, entry.source, entry.name, entry.renamed_to, last.record_id, last.text)


def _skipped(entry: Any) -> Line:
    return Line(SKIPPED, entry.why, entry.host, entry.source, text=entry.text)
