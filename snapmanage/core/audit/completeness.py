"""Compare the entries of a snapshot with the generations that the database announced for it."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum

from snapmanage.core.audit.generations import NONE, Generations
from snapmanage.core.audit.payloads import is_rejection
from snapmanage.core.records import Snapshot


class Kind(Enum):
    """The kinds of findings about the log; the value begins a line of the report."""

    BROKEN = "BROKEN"
    FORGED = "FORGED"
    INCOMPLETE = "INCOMPLETE"
    NOTE = "NOTE"


@dataclass(frozen=True)
class Finding:
    kind: Kind
    text: str


@dataclass(frozen=True)
class Step:
    """An entry without its content."""

    number: int
    event_type: str
    generation: int


@dataclass(frozen=True)
class History:
    """The entries of a snapshot by generation, and the database's own knowledge about its events.

    `announced` is the last announced generation, None if the database never had the snapshot. `record` is None
    if it was deleted. `waiting` are the generations in the outbox. A `recent` record has changed so lately that its
    events may still be on the bus.
    """

    snapshot_id: str
    steps: Sequence[Step]
    purged: Generations = NONE
    announced: int | None = None
    record: Snapshot | None = None
    recent: bool = False
    waiting: Set[int] = frozenset()


def unexplained(history: History) -> list[int]:
    """Return the numbers of the entries that don't follow the generation before theirs.

    Events of the first schema have gaps between their generations, so that their payloads name the previous one.
    """
    known = {step.generation for step in history.steps}
    return [
        step.number
        for step in history.steps
        if step.generation > 1 and step.generation - 1 not in known and step.generation - 1 not in history.purged
    ]


def findings(history: History, previous: Mapping[int, int | None]) -> Iterator[Finding]:
    """Yield the events that the log lacks, and those that the database never announced.

    `previous` has the previous generations of the entries that `unexplained` returns, by their numbers.
    """
    yield from _never_announced(history)
    known = {step.generation for step in history.steps}
    for step in history.steps:
        before = previous.get(step.number)
        if before is not None and before not in known and before not in history.purged:
            yield _missing(history, before, f"generation {before} is missing before row {step.number}")
    last = history.announced
    if last and last not in known and last not in history.purged:
        recorded = max((each for each in (*known, history.purged.highest) if each < last), default=0)
        end = f"the last recorded one is {recorded}" if recorded else "none is recorded"
        yield _missing(history, last, f"generation {last}, which the record announced last, is missing; {end}")


def _never_announced(history: History) -> Iterator[Finding]:
    of = f"snapshot {history.snapshot_id}"
    for step in history.steps:
        if step.generation == 0 and not is_rejection(step.event_type):
            text = f"row {step.number} has generation 0, which only the error of a rejected request has"
            yield Finding(Kind.FORGED, f"{of}: {text}")
    forged = [step for step in history.steps if step.generation > (history.announced or 0)]
    if not forged:
        return
    if history.announced is None:
        rows = f"row {forged[0].number}" + (f" and {len(forged) - 1} more" if len(forged) > 1 else "")
        yield Finding(Kind.FORGED, f"{of}: the database has no record of the snapshot, so it did not announce {rows}")
        return
    for step in forged:
        text = f"{of}: row {step.number} has generation {step.generation}, but the record announced only up to "
        yield Finding(Kind.FORGED, f"{text}{history.announced}")


def _missing(history: History, generation: int, text: str) -> Finding:
    of = f"snapshot {history.snapshot_id}"
    if generation in history.waiting:
        return Finding(Kind.NOTE, f"{of}: generation {generation} is not yet recorded: it waits in the outbox")
    if history.waiting or history.recent:
        return Finding(Kind.NOTE, f"{of}: generation {generation} is not yet recorded: it was announced lately")
    return Finding(Kind.INCOMPLETE, f"{of}: {text}")
